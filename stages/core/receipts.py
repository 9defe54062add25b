"""A receipt says that a dataset was held against its suite. Consumers refuse a dataset without a true one."""

from collections.abc import Sequence

import polars as pl

from stages.core.errors import UserError
from stages.core.files import read_json, sha256_file, write_json
from stages.core.layout import receipt_file, suite_file
from stages.core.tables import Dataset, read_dataset


def write_receipt(dataset: Dataset, rows: int, valid: bool) -> None:
    """Writes `{dataset, rows, valid, suite, sha256}`; `suite` is the suite's name, so a loosened suite that the data
    still passes changes no receipt and retrains nothing."""
    receipt = {
        "dataset": dataset.name, "rows": rows, "valid": valid,
        "suite": suite_file(dataset.name).stem, "sha256": sha256_file(dataset.file),
    }  # fmt: skip
    write_json(receipt_file(dataset.name), receipt)


def open_datasets(*datasets: Dataset) -> list[pl.DataFrame]:
    """The rows of each dataset. Raises UserError with a sentence for each one that did not pass its suite, or that
    changed since."""
    if problems := [problem for dataset in datasets if (problem := _problem(dataset))]:
        raise UserError(*problems)
    return [read_dataset(dataset) for dataset in datasets]


def open_dataset(dataset: Dataset, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of one dataset, as `open_datasets` gives them, with these of its columns; None = all."""
    if problem := _problem(dataset):
        raise UserError(problem)
    return read_dataset(dataset, columns)


def _problem(dataset: Dataset) -> str | None:
    path, file = receipt_file(dataset.name), dataset.file
    for needed in (path, file):
        if not needed.is_file():
            return f"{needed} does not exist; run `dvc repro` to make it"
    receipt = read_json(path)
    if receipt.get("dataset") != dataset.name:
        return f"{path} is a receipt of `{receipt.get('dataset')}`, not of {file}; run `dvc repro`"
    if receipt.get("valid") is not True:
        says = f"{path} says valid: {receipt.get('valid')}"
        return f"{file} broke its suite ({says}); see what `dvc repro` printed for it"
    if receipt.get("sha256") != sha256_file(file):
        return f"{file} has changed since {path} was written; run `dvc repro` to make and validate it again"
    return None
