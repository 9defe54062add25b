"""Stage `publish`: writes the datasets and the cards of datasets and models as they stand on the Hub.

Nothing leaves the machine here: `python -m stages.push` uploads a tagged version.
"""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import polars as pl
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stages.core.commands import noted
from stages.core.disk import disk_full_errors
from stages.core.errors import UserError, run_stage
from stages.core.files import move_folder, read_json, write_json
from stages.core.params import Params, parse_section, read_sections
from stages.core.receipts import require_receipts
from stages.core.tables import read_table
from stages.diffing.dvc_files import LOCK, PIPELINE, contents_in
from stages.publishing.configs import DATASETS
from stages.publishing.dataset import write_dataset
from stages.publishing.licences import bases_of, origins_of, sampler_of
from stages.publishing.models import adapters_base, model_files, write_adapter_config, write_model_card
from stages.publishing.names import Language, Licence, Model, Repository
from stages.publishing.release_info import Making


class PublishParams(Params):
    """Section `publish` of params.yaml."""

    version: str = Field(pattern=r"^v[0-9]+\.[0-9]+\.[0-9]+$")
    private: bool
    dataset: Repository
    models: dict[Model, Repository]
    adapters: list[Model]
    code: str | None = Field(pattern=r"^https://[\w.-]+(:[0-9]+)?(/[\w.~/-]*)?$")
    languages: list[Language] = Field(min_length=1)
    licences: dict[str, Licence]
    shard_rows: int = Field(gt=0, le=10**7)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if len(set(self.models.values())) < len(self.models):
            raise PydanticCustomError("models", "give each model a repository of its own")
        if strange := [model for model in self.adapters if model not in self.models]:
            raise PydanticCustomError("adapters", "`adapters` has {name}, which `models` has not", {"name": strange[0]})
        return self


_NOT_BEFORE = ("publish", "report")


def require_fresh() -> None:
    """Raises UserError where a stage before this one did not run since its params or data changed, as with `dvc repro
    --single-item publish`: the cards would tell of params that the data was not made with."""
    if not (Path(PIPELINE).is_file() and Path(LOCK).is_file()):  # run by hand, on files from elsewhere
        return
    stale = contents_in(Path(), "this folder").stale.items()
    why = "and cards would tell of other params; run `dvc repro publish`"
    errors = [f"stage `{name}` is stale ({reasons[0]}), {why}" for name, reasons in stale if name not in _NOT_BEFORE]
    if errors:
        raise UserError(*errors)


def read_tables(args: argparse.Namespace) -> dict[str, pl.DataFrame]:
    """Every dataset that is published from. Raises UserError where one did not pass its contract, or changed since."""
    places = {name: getattr(args, name) for name in DATASETS}
    require_receipts({getattr(args, f"{name}_receipt"): path for name, path in places.items()})
    return {name: read_table(path, name) for name, path in places.items()}


def making_of(
    params: PublishParams, sections: Mapping[str, Any], sources: list[str], args: argparse.Namespace
) -> Making:
    """What the cards tell. Raises UserError where a model cannot be published."""
    asked, told = sections["candidates"], params.licences
    sampler = sampler_of(args.checkpoints / asked["model"], told) if asked["engine"] == "openai" else None
    making = Making(
        params.version, params.dataset, dict(params.models.items()), params.adapters, params.code, params.languages,
        sections, origins_of(sources, args.sources, told), bases_of(sections["train_sft"], told), sampler,
    )  # fmt: skip
    wrong: list[str] = []
    for model in params.models:
        with noted(wrong):
            model_files(args.checkpoints / model, model in params.adapters)
        if model in params.adapters:
            with noted(wrong):
                adapters_base(model, making)
    if wrong:
        raise UserError(*wrong)
    return making


def write_export(
    tables: Mapping[str, pl.DataFrame], making: Making, params: PublishParams, args: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Writes all that is made for the Hub; returns the counts for the report."""
    hashes = {name: read_json(getattr(args, f"{name}_receipt"))["sha256"] for name in DATASETS}
    counts = write_dataset(tables, making, hashes, args.dictionary, params.shard_rows, folder / "dataset")
    sources = tables["questions"].filter(pl.col("question_id").is_in(tables["sft"]["question_id"].implode()))["source"]
    learnt = read_json(args.train_dpo_report)
    for model in params.models:
        made = folder / "models" / model
        write_model_card(model, making, args.evaluations, learnt, sources.unique().to_list(), made / "README.md")
        if model in params.adapters:
            write_adapter_config(model, making, args.checkpoints / model, made / "adapter_config.json")
    return counts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.publish", description=__doc__)
    for name in (*DATASETS, *(f"{name}-receipt" for name in DATASETS)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    for name in ("dictionary", "sources", "checkpoints", "evaluations", "train-dpo-report", "export", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args, sections = arguments(), read_sections()
    params = parse_section(sections, "publish", PublishParams)
    require_fresh()
    tables = read_tables(args)
    making = making_of(params, sections, sorted(tables["questions"]["source"].unique()), args)

    made = args.export.with_name(f"{args.export.name}.partial")
    shutil.rmtree(made, ignore_errors=True)
    with disk_full_errors(made):
        counts = write_export(tables, making, params, args, made)
        move_folder(made, args.export)
        write_json(args.report, {"version": params.version, **counts})


if __name__ == "__main__":
    run_stage(main)
