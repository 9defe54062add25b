"""A version in a folder: a checkout of this project, or a downloaded export."""

from pathlib import Path

from stages.core.errors import UserError, collect_errors
from stages.datasets.catalog import DATASETS
from stages.diffing.dvc_files import PIPELINE, contents_in
from stages.diffing.versions import Table, Version, dvc_version, open_table

VIEWS = {
    "questions": ("gold", "gold_sql"), "gold": ("gold", "verdict"), "prompts": ("gold", "prompt"),
    "candidates": ("candidates", "completion"), "exec_results": ("candidates", "verdict"),
}  # fmt: skip
"""Dataset to the config of an export that has its columns beside those of others, and the column that shows it has."""


def folder_version(folder: Path, name: str) -> Version:
    """The version in a folder. Raises UserError where the folder holds no data, or a file that cannot be read."""
    version = _checkout(folder, name) if (folder / PIPELINE).is_file() else _export(folder, name)
    if not version.tables:
        raise UserError(
            f"{name} holds no data: neither {PIPELINE} and the datasets that it makes, nor <config>/*.parquet as they "
            "are published; run `dvc repro` or `dvc pull` in it, or give another folder"
        )
    return version


def _checkout(folder: Path, name: str) -> Version:
    contents = contents_in(folder, name)
    files = {path: folder / path for path, _ in contents.datasets.values() if (folder / path).is_file()}
    if missing := " ".join(path for path, md5 in contents.datasets.values() if md5 and path not in files):
        raise UserError(f"{name} lacks {missing}; run `dvc pull {missing}` in it, or `dvc checkout` without a remote")
    metrics = [path for path in contents.metrics if (folder / path).is_file()]
    texts = {path: (folder / path).read_text(encoding="utf-8") for path in metrics}
    return dvc_version(name, None, contents, files, texts)


def _export(folder: Path, name: str) -> Version:
    errors: list[str] = []
    tables: dict[str, Table] = {}
    for dataset in DATASETS:
        config, needed = VIEWS.get(dataset, (dataset, DATASETS[dataset].key))
        files = sorted(path for path in (folder / config).glob("*.parquet") if not path.name.startswith("."))
        with collect_errors(errors):
            if files:
                only = DATASETS[dataset].columns if dataset in VIEWS else None
                table = open_table(f"{name}: {config}/*.parquet", dataset, files, only)
                if needed in table.columns:
                    tables[dataset] = table
    if errors:
        raise UserError(*dict.fromkeys(errors))
    return Version(name, None, tables, None, None)
