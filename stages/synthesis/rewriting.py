"""Asks a strong model for other SQL of questions whose gold fails the audit, and checks it like strong data."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from stages.core.errors import UserError
from stages.databases.paths import check_databases
from stages.datasets.gold import GOLD
from stages.datasets.questions import with_columns_of
from stages.datasets.verdicts import GoldFlag
from stages.synthesis.items import Item, SyntheticDatabase, open_database
from stages.synthesis.mending import Mending
from stages.synthesis.strong_model import StrongModel

FLAGS: tuple[GoldFlag, ...] = ("empty", "limit_tie", "text_number_sort", "null_first")
"""Findings of the gold audit that other SQL can mend."""


def failing_golds(questions: pl.DataFrame, gold: pl.DataFrame, flags: Sequence[GoldFlag]) -> list[Item]:
    """The questions whose gold does not run, or has one of `flags`, as refused items. Raises UserError if there are
    none, and where a database is missing."""
    joined = with_columns_of(questions, GOLD, gold, "verdict", "error", "flags", "findings")
    flagged = pl.col("flags").str.split(",").list.eval(pl.element().is_in(list(flags))).list.any()
    failing = joined.filter((pl.col("verdict") != "ok") | flagged.fill_null(False))
    if failing.is_empty():
        raise UserError(f"no gold fails: all run, and none has a flag of {', '.join(flags)}")
    databases: dict[str, SyntheticDatabase] = {}
    for db_id, path in check_databases(failing["db_id"]).items():
        databases[db_id] = open_database(db_id, db_id, path)
    return [_item(row, databases[row["db_id"]]) for row in failing.iter_rows(named=True)]


def _item(row: dict[str, Any], database: SyntheticDatabase) -> Item:
    item = Item(row["question_id"], database, row["question"], row["gold_sql"], evidence=row["evidence"])
    problem = f"the query fails: {row['error']}" if row["verdict"] != "ok" else f"{row['flags']}: {row['findings']}"
    item.refuse(row["verdict"] if row["verdict"] != "ok" else row["flags"], problem)
    return item


def rewrite_golds(
    items: Sequence[Item], mending: Mending, model: StrongModel
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rewrites that were accepted, one for each mended item, and the counts: in, out, and left out by reason."""
    problems = {item.item_id: item.problem for item in items}
    mending.repair(items)
    rewrites = [
        {
            "question_id": item.item_id, "old_sql": item.first_sql, "gold_sql": item.sql,
            "problem": problems[item.item_id], "model": model.name, "model_version": model.version,
            "vote_share": item.agreeing / len(item.votes) if item.votes else None,
        }
        for item in items if not item.refusal
    ]  # fmt: skip
    left_out = Counter(item.refusal for item in items if item.refusal)
    return rewrites, {"in": len(items), "out": len(rewrites), "dropped": dict(sorted(left_out.items()))}
