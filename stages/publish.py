"""Stage `publish`: the export folder of the datasets and the cards; the push to the Hub only where it is told to.

A push wants `publish.push: true`, a token, and HEAD at the git tag that is the version: so nobody pushes by accident,
and what is on the Hub can be made again from git.
"""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from stages.commands import noted
from stages.corpora.download import disk_full_told
from stages.errors import UserError, run_stage
from stages.files import move_folder, read_json, write_json
from stages.params import Params, read_params, read_sections
from stages.publishing.dataset import write_dataset
from stages.publishing.licences import bases_of, origins_of
from stages.publishing.making import Making
from stages.publishing.models import Weights, model_files, write_model_card
from stages.publishing.push import Kind, Upload, push, refusals
from stages.publishing.release import release_of
from stages.publishing.views import DATASETS
from stages.receipts import require_receipts
from stages.tables import read_table

NOBODY = "OWNER"
"""The owner in params.yaml until somebody sets one: nothing is pushed there."""


def _repository(name: str) -> str:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise PydanticCustomError("name", "{why}", {"why": " ".join(str(error).split())}) from None
    if "/" not in name:
        raise PydanticCustomError("name", "give owner/name")
    return name


Repository = Annotated[str, AfterValidator(_repository)]
Licence = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class PublishParams(Params):
    """Section `publish` of params.yaml."""

    version: str = Field(pattern=r"^v\d+\.\d+\.\d+$")
    push: bool
    private: bool
    dataset: Repository
    models: dict[Literal["sft/weak", "sft/strong", "dpo"], Repository]
    weights: Weights
    code: str | None = Field(pattern=r"^https://\S+$")
    licences: dict[str, Licence]
    shard_rows: int = Field(gt=0)

    def repositories(self) -> list[tuple[str, Kind]]:
        """All that are pushed to, the dataset's first."""
        return [(self.dataset, "dataset"), *((name, "model") for name in self.models.values())]


def read_tables(args: argparse.Namespace) -> dict[str, pl.DataFrame]:
    """Every dataset that is published from. Raises UserError where one did not pass its contract, or changed since."""
    places = {name: getattr(args, name) for name in DATASETS}
    require_receipts({getattr(args, f"{name}_receipt"): path for name, path in places.items()})
    return {name: read_table(path, name) for name, path in places.items()}


def making_of(params: PublishParams, sections: Mapping[str, Any], sources: list[str], known: Path) -> Making:
    """What the cards tell. Raises UserError with all that stands against a push, where there is to be one."""
    origins, bases = origins_of(sources, known, params.licences), bases_of(sections["train_sft"], params.licences)
    release, wrong = None, []
    if params.push:
        wrong += [
            f"`publish.licences` does not name the licence of {base.name}, a base model; add it as the Hub spells it"
            for base in bases.values() if not base.published
        ]  # fmt: skip
        if not any(origin.published for origin in origins):
            wrong.append(f"none of {', '.join(sources)} may be passed on; name their licences in `publish.licences`")
        wrong += [
            f"params.yaml has `{name}` in section `publish`; put your name on the Hub in place of {NOBODY}"
            for name, _ in params.repositories() if name.startswith(f"{NOBODY}/")
        ]  # fmt: skip
        with noted(wrong):
            release = release_of(params.version)
        with noted(wrong):
            wrong += [] if wrong else refusals(params.repositories(), params.private)
    if wrong:
        raise UserError(*wrong)
    return Making(params.version, params.dataset, params.code, release, sections, origins, bases)


def push_all(params: PublishParams, args: argparse.Namespace, made: Path) -> list[dict[str, str | bool]]:
    """Pushes the dataset, then the models; says what became of each."""
    files = {path.relative_to(made / "dataset").as_posix(): path for path in (made / "dataset").rglob("*.*")}
    uploads = [Upload(params.dataset, "dataset", files)]
    for model, repository in params.models.items():
        card = {"README.md": made / "models" / model / "README.md"}
        uploads.append(Upload(repository, "model", model_files(args.checkpoints / model, params.weights) | card))
    done = []
    for upload in uploads:
        done.append(push(upload, params.version, params.private))
        told = "pushed" if done[-1]["new"] else "was there already"
        print(f"{upload.repository} {params.version}: {told}, commit {done[-1]['commit']}", flush=True)
    return done


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.publish", description=__doc__)
    for name in (*DATASETS, *(f"{name}-receipt" for name in DATASETS)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    for name in ("dictionary", "sources", "checkpoints", "evaluations", "train-dpo-report", "export", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args, params, sections = arguments(), read_params("publish", PublishParams), read_sections()
    tables = read_tables(args)
    making = making_of(params, sections, sorted(tables["questions"]["source"].unique()), args.sources)
    for model in params.models:
        model_files(args.checkpoints / model, params.weights)

    made = args.export.with_name(f"{args.export.name}.partial")
    shutil.rmtree(made, ignore_errors=True)
    with disk_full_told(made):
        receipts = [read_json(getattr(args, f"{name}_receipt")) for name in DATASETS]
        counts = write_dataset(tables, making, receipts, args.dictionary, params.shard_rows, made / "dataset")
        for model, repository in params.models.items():
            card, learnt = made / "models" / model / "README.md", read_json(args.train_dpo_report)
            write_model_card(model, repository, params.weights, making, args.evaluations, learnt, card)
        move_folder(made, args.export)
    pushed = push_all(params, args, args.export) if params.push else []
    write_json(args.report, {"version": params.version, **counts, "pushed": pushed})


if __name__ == "__main__":
    run_stage(main)
