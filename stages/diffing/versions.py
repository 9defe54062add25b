"""One side of a comparison: the datasets of a version as Parquet files, its metrics, and the params of its data."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from stages.core.errors import UserError, collect_errors
from stages.core.parquet import parquet_errors
from stages.datasets.catalog import DATASETS
from stages.diffing.dvc_files import Contents, numbers_of

_FIX = "make or download it again"
WORKSPACE = "workspace"
"""The name of the version in the working directory."""


@dataclass(frozen=True)
class Table:
    """A dataset of a version: the Parquet files that hold its rows, and its columns. `label`: its name in messages."""

    label: str
    dataset: str
    files: tuple[Path, ...]
    columns: dict[str, pl.DataType]

    def read(self, *columns: str) -> pl.DataFrame:
        """These columns of all rows, in the files' order. Raises UserError where a file is damaged."""
        return self._collect(self._scan().select(columns))

    def rows(self, keys: pl.Series) -> pl.DataFrame:
        """The rows with these keys, sorted by key. Raises UserError where a file is damaged."""
        key = DATASETS[self.dataset].key
        return self._collect(self._scan().filter(pl.col(key).is_in(keys.implode())).select(*self.columns)).sort(key)

    def keys(self) -> pl.Series:
        """The key of each row. Raises UserError where two rows have the same or one has none."""
        name = DATASETS[self.dataset].key
        keys = self.read(name)[name]
        if keys.null_count() or keys.n_unique() < keys.len():
            raise UserError(
                f"{self.label}: two rows have the same `{name}`, or one has none, so that rows cannot be told apart; "
                "make the dataset again, or remove files of another version"
            )
        return keys

    def is_the_same_file(self, other: "Table") -> bool:
        """Whether both are one file, as two revisions with the same version of a dataset have in DVC's cache."""
        return len(self.files) == len(other.files) == 1 and self.files[0].samefile(other.files[0])

    def _scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(list(self.files), glob=False)

    def _collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        with parquet_errors(f"{self.label} cannot be read", _FIX):
            return frame.collect()


@dataclass(frozen=True)
class Version:
    """`commit`: of a revision. `params`: dotted name to the value that DVC recorded when the data was made; `metrics`:
    file to dotted name to number; both are None for an export, which has neither. `stale`: each stage that DVC has not
    run since its inputs changed, with these inputs."""

    name: str
    commit: str | None
    tables: dict[str, Table]
    params: dict[str, object] | None
    metrics: dict[str, dict[str, float]] | None
    stale: dict[str, list[str]] = field(default_factory=dict)

    def has(self, dataset: str, *columns: str) -> bool:
        """Whether it has the dataset, with these columns."""
        return dataset in self.tables and set(columns) <= self.tables[dataset].columns.keys()


def open_table(label: str, dataset: str, files: list[Path], only: Collection[str] | None = None) -> Table:
    """The dataset in these files, cut down to the columns `only`. Raises UserError where a file is not Parquet, or the
    dataset's key is not among its columns as text."""
    with parquet_errors(f"{label} is not a Parquet file", _FIX):
        columns = dict(pl.scan_parquet(files, glob=False).collect_schema())
    if only is not None:
        columns = {name: dtype for name, dtype in columns.items() if name in only}
    key = DATASETS[dataset].key
    if columns.get(key) != pl.String:
        raise UserError(f"{label} has no text column `{key}`, the key of `{dataset}`; make or download it again")
    return Table(label, dataset, tuple(files), columns)


def dvc_version(
    name: str, commit: str | None, contents: Contents, files: Mapping[str, Path], metrics: Mapping[str, str]
) -> Version:
    """A version of this project. `files`: path of a dataset to the file with its content; `metrics`: path to text.

    Raises UserError where one of them cannot be read.
    """
    errors: list[str] = []
    tables: dict[str, Table] = {}
    numbers: dict[str, dict[str, float]] = {}
    for dataset, (path, _) in contents.datasets.items():
        with collect_errors(errors):
            if path in files:
                tables[dataset] = open_table(f"{name}: {path}", dataset, [files[path]])
    for path, text in metrics.items():
        with collect_errors(errors):
            numbers[path] = numbers_of(text, f"{name}: {path}")
    if errors:
        raise UserError(*errors)
    return Version(name, commit, tables, contents.params, numbers, contents.stale)
