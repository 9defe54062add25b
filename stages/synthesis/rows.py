"""The rows of `synthetic`, and the report of its stage."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from stages.datasets.difficulties import by_difficulty
from stages.datasets.synthetic import SYNTHETIC
from stages.sql.hardness import hardness
from stages.synthesis.items import Item
from stages.synthesis.strong_model import BudgetedModel, StrongModel


def synthetic_rows(items: Sequence[Item], model: StrongModel | None) -> pl.DataFrame:
    """The rows of `synthetic`. `model`: what made the items, or voted on them; None if they come from a file alone."""
    name, version = (model.name, model.version) if model else ("file", "")
    rows = [
        {
            "item_id": item.item_id, "domain": item.database.domain, "db_id": item.database.db_id,
            "question": item.question, "evidence": item.evidence, "gold_sql": item.sql,
            "difficulty": hardness(item.sql), "concept": item.concept, "model": name, "model_version": version,
            "refusal": item.refusal or None, "checks": ",".join(item.passed), "votes": len(item.votes),
            "vote_share": item.agreeing / len(item.votes) if item.votes else None, "repairs": item.repairs,
            "first_sql": item.first_sql,
        }
        for item in items
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SYNTHETIC.columns)


def report_of(
    source: str, ended_by: str, rows: pl.DataFrame, databases: Mapping[str, int], refused: Mapping[str, int],
    model: BudgetedModel | None,
) -> dict[str, Any]:
    """Counts: items in, accepted and left out for each reason; answers and databases that gave no item; what was spent.

    `ended_by`: `items` (so many are accepted), the limit of the budget that was met, `file` (it has no further entry),
    or `no_progress`. `databases`, `refused`: refusals by reason, of databases and of answers or entries.
    """
    accepted = rows.filter(pl.col("refusal").is_null())
    return {
        "source": source,
        "ended_by": ended_by,
        "in": rows.height,
        "out": accepted.height,
        "dropped": _counts(rows, "refusal"),
        "repaired": accepted["first_sql"].is_not_null().sum(),
        "no_item": _nonzero(refused),
        "databases": {"out": accepted["db_id"].n_unique(), "dropped": _nonzero(databases)},
        "domains": _counts(accepted, "domain"),
        "difficulties": dict(sorted(_counts(accepted, "difficulty").items(), key=lambda pair: by_difficulty(pair[0]))),
        "concepts": _counts(accepted, "concept"),
        **({"requests": _requests(model), "spent": model.spent()} if model else {}),
    }


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}


def _counts(rows: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(sorted(Counter(rows[column].drop_nulls()).items()))


def _requests(model: BudgetedModel) -> dict[str, int]:
    kinds = ("database", "question", "vote", "repair_database", "repair_query")
    return {kind: model.counts[kind] for kind in kinds}
