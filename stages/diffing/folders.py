"""A version in a folder: a checkout of this project, or a published export as people download it."""

from pathlib import Path

from stages.core.commands import noted
from stages.core.errors import UserError
from stages.core.tables import COLUMNS, KEYS
from stages.diffing.dvc_files import PIPELINE, contents_in, numbers_of
from stages.diffing.versions import Table, Version, open_table

VIEWS = {
    "questions": ("gold", "gold_sql"), "gold": ("gold", "verdict"), "prompts": ("gold", "prompt"),
    "candidates": ("candidates", "completion"), "exec_results": ("candidates", "verdict"),
}  # fmt: skip
"""Dataset to the config of an export that has its columns beside those of others, and the column that shows it has."""


def folder_version(folder: Path, name: str) -> Version:
    """The version in a folder. Raises UserError where it holds no data, or a file that cannot be read."""
    version = _checkout(folder, name) if (folder / PIPELINE).is_file() else _export(folder, name)
    if not version.tables:
        raise UserError(
            f"{name} holds no data: neither {PIPELINE} and the datasets that it makes, nor <config>/*.parquet as they "
            "are published; run `dvc repro` or `dvc pull` in it, or give another folder"
        )
    return version


def _checkout(folder: Path, name: str) -> Version:
    contents = contents_in(folder, name)
    wrong: list[str] = []
    tables: dict[str, Table] = {}
    there = {path: (folder / path).is_file() for path, _ in contents.datasets.values()}
    if missing := " ".join(path for path, md5 in contents.datasets.values() if md5 and not there[path]):
        raise UserError(f"{name} lacks {missing}; run `dvc pull {missing}` in it, or `dvc checkout` without a remote")
    for dataset, (path, _) in contents.datasets.items():
        with noted(wrong):
            if there[path]:
                tables[dataset] = open_table(f"{name}: {path}", dataset, [folder / path])
    metrics = {}
    for path in contents.metrics:
        with noted(wrong):
            if (folder / path).is_file():
                metrics[path] = numbers_of((folder / path).read_text(encoding="utf-8"), f"{name}: {path}")
    if wrong:
        raise UserError(*wrong)
    return Version(name, None, tables, contents.params, metrics, contents.stale)


def _export(folder: Path, name: str) -> Version:
    wrong: list[str] = []
    tables: dict[str, Table] = {}
    for dataset in KEYS:
        config, needed = VIEWS.get(dataset, (dataset, KEYS[dataset]))
        files = sorted(path for path in (folder / config).glob("*.parquet") if not path.name.startswith("."))
        with noted(wrong):
            if files:
                only = COLUMNS[dataset] if dataset in VIEWS else None
                table = open_table(f"{name}: {config}/*.parquet", dataset, files, only)
                if needed in table.columns:
                    tables[dataset] = table
    if wrong:
        raise UserError(*dict.fromkeys(wrong))
    return Version(name, None, tables, None, None)
