"""Stage `publish`: writes the datasets and the cards of datasets and models as they stand on the Hub.

Nothing leaves the machine here: `python -m stages.push` uploads a tagged version.
"""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

import polars as pl
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stages.core.disk import disk_full_errors
from stages.core.end_line import write_report
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.files import move_folder, read_json
from stages.core.layout import DICTIONARY, EXPORT, MODELS, model_path, receipt_file, report_file
from stages.core.params import Params, parse_section, read_sections
from stages.core.receipts import open_datasets
from stages.datasets.answers import answers_of
from stages.datasets.catalog import DATASETS
from stages.diffing.dvc_files import LOCK, PIPELINE, contents_in
from stages.fetching.sources import SOURCES
from stages.publishing.dataset import write_dataset
from stages.publishing.licences import STRONG, bases_of, origins_of, sampler_of, strong_origin
from stages.publishing.models import adapters_base, model_files, write_adapter_config, write_model_card
from stages.publishing.params import Language, Licence, Model, Repository
from stages.publishing.release_info import ReleaseInfo


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


def read_tables(sections: Mapping[str, Any]) -> dict[str, pl.DataFrame]:
    """Every dataset, and the answers of each model to each of `test_sets`. Raises UserError where one did not pass its
    suite, or changed since."""
    answers = [answers_of(model, test_set) for model in get_args(Model) for test_set in sections["test_sets"]]
    datasets = [*DATASETS.values(), *answers]
    return dict(zip([dataset.name for dataset in datasets], open_datasets(*datasets), strict=True))


def release_info(
    params: PublishParams, sections: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]
) -> ReleaseInfo:
    """What the cards say. Raises UserError where a model cannot be published."""
    candidates, licences = sections["candidates"], params.licences
    sampler = sampler_of(model_path(candidates["model"]), licences) if candidates["engine"] == "openai" else None
    origins = origins_of(sorted(tables["questions"]["source"].unique()), SOURCES, licences)
    if not tables["synthetic"].is_empty():
        origins.append(strong_origin(sections["synthesize"], MODELS, licences))
    info = ReleaseInfo(
        params.version, params.dataset, dict(params.models.items()), params.adapters, params.code, params.languages,
        sections, origins, bases_of(sections["train_sft"], licences), sampler,
    )  # fmt: skip
    errors: list[str] = []
    for model in params.models:
        with collect_errors(errors):
            model_files(model_path(model), model in params.adapters)
        if model in params.adapters:
            with collect_errors(errors):
                adapters_base(model, info)
    if errors:
        raise UserError(*errors)
    return info


def write_export(
    tables: Mapping[str, pl.DataFrame], info: ReleaseInfo, params: PublishParams, folder: Path
) -> dict[str, Any]:
    """Writes all that is made for the Hub; returns the counts for the report."""
    hashes = {name: read_json(receipt_file(name))["sha256"] for name in tables}
    counts = write_dataset(tables, info, hashes, DICTIONARY, params.shard_rows, folder / "dataset")
    sources = tables["questions"].filter(pl.col("question_id").is_in(tables["sft"]["question_id"].implode()))["source"]
    trained_on = sources.unique().to_list() + ([STRONG] if (tables["sft"]["origin"] == STRONG).any() else [])
    preference = read_json(report_file("train_dpo"))
    for model in params.models:
        out = folder / "models" / model
        write_model_card(model, info, preference, trained_on, out / "README.md")
        if model in params.adapters:
            write_adapter_config(model, info, model_path(model), out / "adapter_config.json")
    return counts


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.publish", description=__doc__).parse_args()
    sections = read_sections()
    params = parse_section(sections, "publish", PublishParams)
    require_fresh()
    tables = read_tables(sections)
    info = release_info(params, sections, tables)

    folder = EXPORT.with_name(f"{EXPORT.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    with disk_full_errors(folder):
        counts = write_export(tables, info, params, folder)
        move_folder(folder, EXPORT)
        rows = {config: sum(splits.values()) for config, splits in counts["rows"].items()}
        left_out = {source: sum(configs.values()) for source, configs in counts["left_out"].items()}
        configs = ", ".join(f"{config} {count:,}" for config, count in rows.items())
        figures = configs or "no config", f"the cards are in {EXPORT}"
        report = {"version": params.version, **counts}
        write_report("publish", report, sum(rows.values()), left_out, *figures, what="left out")


if __name__ == "__main__":
    run_stage(main)
