"""A receipt says that a dataset was held against its contract. Consumers refuse a dataset without a true one."""

from collections.abc import Mapping
from pathlib import Path

from stages.core.errors import UserError
from stages.core.files import read_json, sha256_file, write_json


def write_receipt(path: Path, dataset: str, rows: int, valid: bool, table: Path) -> None:
    """Writes `{dataset, rows, valid, suite, sha256}`; `suite` is the suite's name, so a loosened suite that the data
    still passes changes no receipt and retrains nothing."""
    receipt = {"dataset": dataset, "rows": rows, "valid": valid, "suite": dataset, "sha256": sha256_file(table)}
    write_json(path, receipt)


def require_receipts(receipts: Mapping[Path, Path]) -> None:
    """Refuses data that did not pass its contract, or that changed since.

    `receipts`: receipt file to the table it is for. Raises UserError with a sentence for each one that does not hold.
    """
    problems = [problem for receipt, table in receipts.items() if (problem := _problem(receipt, table))]
    if problems:
        raise UserError(*problems)


def _problem(receipt: Path, table: Path) -> str | None:
    for path in (receipt, table):
        if not path.is_file():
            return f"{path} does not exist; run `dvc repro` to make it"
    found = read_json(receipt)
    if found.get("dataset") != table.stem:
        return f"{receipt} is a receipt of `{found.get('dataset')}`, not of {table}; run `dvc repro`"
    if found.get("valid") is not True:
        says = f"{receipt} says valid: {found.get('valid')}"
        return f"{table} broke its contract ({says}); see what `dvc repro` printed for it"
    if found.get("sha256") != sha256_file(table):
        return f"{table} has changed since {receipt} was written; run `dvc repro` to make and validate it again"
    return None
