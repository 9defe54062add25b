"""Holds a dataset against its suite and writes the receipt that its consumers ask for.

Exit status 1, and a receipt that says so, where the data breaks the suite: each broken expectation is printed with
its rows. Status 2 where a file or the suite itself is wrong.
"""

import argparse
import sys
from dataclasses import replace

import polars as pl

from stages.core.display import show, visible_line
from stages.core.end_line import end_stage
from stages.core.errors import UserError, run_stage, short
from stages.core.layout import DATABASES, SYNTHETIC_DATABASES, dataset_file, receipt_file, suite_file
from stages.core.receipts import write_receipt
from stages.core.tables import Dataset, read_any
from stages.datasets.answers import ANSWERS
from stages.datasets.catalog import DATASETS
from stages.validation.suites import Failure, Suite, failed_expectations, read_suite

SHOWN = 5
"""Rows that the message of a broken expectation shows; it counts them all."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.validate", description=__doc__)
    parser.add_argument("--dataset", type=dataset_of, required=True, help=f"{', '.join(DATASETS)}, or answers/…")
    dataset = parser.parse_args().dataset
    suite = read_suite(suite_file(dataset.name))
    frame = read_any(dataset.file)
    failures = failed_expectations(frame, suite, orphans(frame, suite))
    write_receipt(dataset, frame.height, valid=not failures)
    for failure in failures:
        show(visible_line(sentence(dataset, failure, frame)), sys.stderr)
    expectations = f"expectations in {suite_file(dataset.name)}"
    if failures:
        show(f"{dataset.file} breaks {len(failures)} of the {len(suite)} {expectations}", sys.stderr)
        sys.exit(1)
    figures = f"{frame.height:,} rows meet all {len(suite)} {expectations}"
    end_stage(f"validate {dataset.name}", receipt_file(dataset.name), figures)


def dataset_of(name: str) -> Dataset:
    """The dataset of this name; `answers` has a name for each of its files, such as `answers/dpo-demo-dev`."""
    if name.startswith(f"{ANSWERS.name}/"):
        return replace(ANSWERS, name=name)
    if name not in DATASETS:
        raise argparse.ArgumentTypeError(f"{name!r} is no dataset; give {', '.join(DATASETS)}, or answers/dpo-demo-dev")
    return DATASETS[name]


def orphans(frame: pl.DataFrame, suite: Suite) -> dict[str, list[str]]:
    """`orphan_<column>` to the values of a foreign key column that its parent lacks, for the suite's parameters.

    The suite names the parent's column in `meta.references`: `<dataset>.<column>`, or for a folder of databases
    `databases.db_id` or `synthetic_databases.db_id`. The few orphans are given and not the many keys, because Great
    Expectations copies a value set about a hundred times (60,000 keys: 10 s a column).
    """
    references = {
        expectation["kwargs"]["column"]: expectation["meta"]["references"]
        for expectation in suite
        if "references" in expectation["meta"]
    }
    values = {}
    for column, reference in references.items():
        keys = _keys(*reference.split("."))
        # A missing or wrongly typed column breaks the suite itself, before any row is looked at.
        comparable = column in frame.columns and frame.schema[column] == keys.dtype
        present = frame[column].drop_nulls().unique() if comparable else keys.clear()
        values[f"orphan_{column}"] = present.filter(~present.is_in(keys.implode())).sort().to_list()
    return values


def _keys(parent: str, column: str) -> pl.Series:
    folders = {folder.name: folder for folder in (DATABASES, SYNTHETIC_DATABASES)}
    if parent in folders:
        names = sorted(path.name for path in folders[parent].iterdir() if (path / f"{path.name}.sqlite").is_file())
        return pl.Series(column, names, dtype=pl.String)
    file = dataset_file(parent)
    table = read_any(file)
    if column not in table.columns:
        raise UserError(f"{file} has no column `{column}` to look keys up in; run `dvc repro` to make it again")
    return table[column].drop_nulls().unique()


def sentence(dataset: Dataset, failure: Failure, frame: pl.DataFrame) -> str:
    """What a broken expectation tells: dataset, expectation, columns, how many rows, and which (the first few)."""
    about = ", ".join(failure.columns) or "the table"
    head = f"{dataset.name}: `{failure.id}` ({failure.type} on {about})"
    if not failure.rows:
        return f"{head}: {failure.observed}. {failure.notes}"
    shown = "; ".join(_row(frame, at, (dataset.key, *failure.columns)) for at in failure.rows[:SHOWN])
    more = f"; and {len(failure.rows) - SHOWN} more" if len(failure.rows) > SHOWN else ""
    return f"{head} fails on {len(failure.rows)} of {frame.height} rows: {shown}{more}. {failure.notes}"


def _row(frame: pl.DataFrame, at: int, columns: tuple[str, ...]) -> str:
    values = frame.select(list(dict.fromkeys(columns))).row(at, named=True)
    return f"row {at} ({', '.join(f'{name} = {short(value)}' for name, value in values.items())})"


if __name__ == "__main__":
    run_stage(main)
