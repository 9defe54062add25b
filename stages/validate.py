"""Holds a dataset against its contract and writes the receipt that its consumers ask for.

Exit status 1, and a receipt that says so, where the data breaks the contract: each broken expectation is printed with
its rows. Status 2 where a file or the suite itself is wrong.
"""

import argparse
import sys
from pathlib import Path

import polars as pl

from stages.core.display import show, visible_line
from stages.core.errors import UserError, run_stage, short
from stages.core.receipts import write_receipt
from stages.core.tables import COLUMNS, KEYS, read_any
from stages.validation.suites import Failure, Suite, broken, read_suite

SHOWN = 5
"""Rows that the message of a broken expectation shows; it counts them all."""


def main() -> None:
    args = _arguments()
    suite = read_suite(args.suite)
    frame = read_any(args.table)
    failures = broken(frame, suite, orphans(frame, suite, args.parent))
    write_receipt(args.receipt, args.dataset, frame.height, valid=not failures, table=args.table)
    for failure in failures:
        show(visible_line(sentence(args.dataset, failure, frame)), sys.stderr)
    if failures:
        show(f"{args.table} breaks {len(failures)} of the {len(suite)} expectations in {args.suite}", sys.stderr)
        sys.exit(1)
    show(f"{args.table}: {frame.height} rows meet the {len(suite)} expectations in {args.suite}")


def orphans(frame: pl.DataFrame, suite: Suite, parent: Path) -> dict[str, list[str]]:
    """`orphan_<column>` to the values of a foreign key column that `parent` does not know, for the suite's parameters.

    `parent` is a dataset's Parquet file, or the folder of databases (its `db_id`s are the sub-folders that hold a
    database). The suite names the column referred to in `meta.references`. Given the few orphans and not the many known
    keys, because Great Expectations copies a value set about a hundred times (60,000 keys: 10 s a column).
    """
    references = {
        expectation["kwargs"]["column"]: expectation["meta"]["references"]
        for expectation in suite
        if "references" in expectation["meta"]
    }
    _check_references(references, parent)
    found = {}
    for column, reference in references.items():
        known = _keys(parent, reference.partition(".")[2])
        # A missing or wrongly typed column is told by the suite itself, before any row is looked at.
        comparable = column in frame.columns and frame.schema[column] == known.dtype
        values = frame[column].drop_nulls().unique() if comparable else known.clear()
        found[f"orphan_{column}"] = values.filter(~values.is_in(known.implode())).sort().to_list()
    return found


def _check_references(references: dict[str, str], parent: Path) -> None:
    wrong = [
        f"--parent is {parent}, but `{column}` refers to {reference}; give the file or folder of `{wanted}`"
        for column, reference in references.items()
        if (wanted := reference.partition(".")[0]) != parent.stem
    ]
    if wrong:
        raise UserError(*wrong)


def _keys(parent: Path, column: str) -> pl.Series:
    if parent.is_dir():
        names = sorted(folder.name for folder in parent.iterdir() if (folder / f"{folder.name}.sqlite").is_file())
        return pl.Series(column, names, dtype=pl.String)
    table = read_any(parent)
    if column not in table.columns:
        raise UserError(f"{parent} has no column `{column}` to look keys up in; run `dvc repro` to make it again")
    return table[column].drop_nulls().unique()


def sentence(dataset: str, failure: Failure, frame: pl.DataFrame) -> str:
    """What a broken expectation tells: dataset, expectation, columns, how many rows, and which (the first few)."""
    about = ", ".join(failure.columns) or "the table"
    head = f"{dataset}: `{failure.id}` ({failure.type} on {about})"
    if not failure.rows:
        return f"{head}: {failure.found}. {failure.notes}"
    shown = "; ".join(_row(frame, at, (KEYS[dataset], *failure.columns)) for at in failure.rows[:SHOWN])
    more = f"; and {len(failure.rows) - SHOWN} more" if len(failure.rows) > SHOWN else ""
    return f"{head} fails on {len(failure.rows)} of {frame.height} rows: {shown}{more}. {failure.notes}"


def _row(frame: pl.DataFrame, at: int, columns: tuple[str, ...]) -> str:
    values = frame.select(list(dict.fromkeys(columns))).row(at, named=True)
    return f"row {at} ({', '.join(f'{name} = {short(value)}' for name, value in values.items())})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.validate", description=__doc__)
    parser.add_argument("--dataset", choices=COLUMNS, required=True)
    parser.add_argument("--table", type=Path, required=True, help="the dataset's Parquet file")
    parser.add_argument("--suite", type=Path, required=True, help="its Great Expectations suite, a JSON file")
    parser.add_argument("--parent", type=Path, required=True, help="the dataset or folder its foreign keys refer to")
    parser.add_argument("--receipt", type=Path, required=True, help="where to write the receipt")
    return parser.parse_args()


if __name__ == "__main__":
    run_stage(main)
