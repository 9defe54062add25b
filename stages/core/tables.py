"""Reads and writes datasets, by name, as Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from stages.core.errors import UserError
from stages.core.files import replacing
from stages.core.layout import dataset_file
from stages.core.parquet import parquet_errors

if TYPE_CHECKING:
    from datasets import Features

TEXT, INTEGER, FLOAT = pl.String(), pl.Int64(), pl.Float64()


@dataclass(frozen=True)
class Dataset:
    """A dataset. `key`: the column that is unique in it, and that its rows are sorted by; `columns`: column to polars
    type. `schemas/<name>.json` and `features` are tested to agree with it."""

    name: str
    key: str
    columns: Mapping[str, pl.DataType]

    @property
    def file(self) -> Path:
        return dataset_file(self.name)


def read_dataset(dataset: Dataset, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of a dataset, with these of its columns; None = all. Raises UserError where its file is missing, not
    Parquet, or has other columns than the dataset."""
    with _parquet_of(dataset.file):
        schema = pl.read_parquet_schema(dataset.file)
    if differences := _differences(schema, dataset.columns):
        fix = f"run `dvc repro` to make `{dataset.name}` again"
        raise UserError(*(f"{dataset.file}: {difference}; {fix}" for difference in differences))
    return read_any(dataset.file, columns)


def read_any(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of a Parquet file, whatever its columns. Raises UserError where it is missing, or is not whole."""
    with _parquet_of(path):
        return pl.read_parquet(path, columns=None if columns is None else list(columns), use_pyarrow=False, glob=False)


@contextmanager
def _parquet_of(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise UserError(f"{path} does not exist; run `dvc repro` to make it")
    with parquet_errors(f"{path} is not a Parquet file", "run `dvc repro` to make it again"):
        yield


def write_dataset(frame: pl.DataFrame, dataset: Dataset, file: Path | None = None) -> None:
    """Writes the dataset's columns, sorted by its key, as zstd Parquet, whole or not at all. `file`: of a dataset that
    has several.

    Raises OSError where it cannot be written, and ValueError where a column is missing or of another type: a defect of
    the stage, not of its user.
    """
    if differences := _differences(frame.schema, dataset.columns):
        raise ValueError(f"{dataset.name}: {'; '.join(differences)}")
    with replacing(file or dataset.file) as temporary:
        frame.select(*dataset.columns).sort(dataset.key).write_parquet(temporary, compression="zstd")


def features(dataset: Dataset) -> "Features":
    """The dataset's columns as `datasets.Features`."""
    from datasets import Features, Value

    names = {TEXT: "string", INTEGER: "int64", FLOAT: "float64"}
    return Features({column: Value(names[dtype]) for column, dtype in dataset.columns.items()})


def _differences(columns: Mapping[str, pl.DataType], expected: Mapping[str, pl.DataType]) -> list[str]:
    missing = [f"column `{name}` is missing" for name in expected if name not in columns]
    unknown = [f"column `{name}` is unknown" for name in columns if name not in expected]
    retyped = [
        f"column `{name}` is {columns[name]}, not {dtype}"
        for name, dtype in expected.items()
        if name in columns and columns[name] != dtype
    ]
    return missing + unknown + retyped
