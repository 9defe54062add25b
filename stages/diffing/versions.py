"""What a version is to a comparison: its datasets as Parquet files, its metrics, the params it was made with."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from stages.core.errors import UserError
from stages.core.parquet import parquet_errors
from stages.core.tables import KEYS

_FIX = "make or download it again"
WORKSPACE = "workspace"
"""What the files of the working directory are called."""


@dataclass(frozen=True)
class Table:
    """A dataset of a version: the Parquet files that hold its rows, and its columns. `label`: what messages call it."""

    label: str
    dataset: str
    files: tuple[Path, ...]
    columns: dict[str, pl.DataType]

    def read(self, *columns: str) -> pl.DataFrame:
        """These columns of all rows, in the files' order. Raises UserError where a file is damaged."""
        return self._collect(self._scan().select(columns))

    def rows(self, keys: pl.Series) -> pl.DataFrame:
        """The rows with these keys, sorted by key. Raises UserError where a file is damaged."""
        key = KEYS[self.dataset]
        return self._collect(self._scan().filter(pl.col(key).is_in(keys.implode())).select(*self.columns)).sort(key)

    def keys(self) -> pl.Series:
        """The key of each row. Raises UserError where two rows have the same or one has none."""
        name = KEYS[self.dataset]
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
    """One side of a comparison. `commit`: of a revision. `params`: dotted name to value, as DVC recorded what the data
    was made with; `metrics`: file to dotted name to number. Both are None of an export, which has none. `stale`: each
    stage that DVC has not run since what it reads changed, with what did."""

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
    key = KEYS[dataset]
    if columns.get(key) != pl.String:
        raise UserError(f"{label} has no text column `{key}`, the key of `{dataset}`; make or download it again")
    return Table(label, dataset, tuple(files), columns)
