"""Why a question is left out of what trains a model."""

from collections.abc import Mapping, Sequence

import polars as pl

from stages.datasets.verdicts import GoldFlag


def gold_reasons(drop_flags: Sequence[GoldFlag]) -> dict[str, pl.Expr]:
    """`flag_<flag>`: the column `flags` (of `gold`) holds it; `gold_table_dropped`: the gold query reads a table that
    the prompt does not show (column `lost_tables` of `prompts`)."""
    flagged = {f"flag_{flag}": pl.col("flags").str.split(",").list.contains(flag) for flag in drop_flags}
    return flagged | {"gold_table_dropped": pl.col("lost_tables") != "[]"}


def first_reason(reasons: Mapping[str, pl.Expr]) -> pl.Expr:
    """A column `reason`: the first that holds, NULL where none does."""
    return pl.coalesce(*(pl.when(holds).then(pl.lit(reason)) for reason, holds in reasons.items())).alias("reason")


def exclude_questions(
    rows: pl.DataFrame, questions: pl.DataFrame, drop_flags: Sequence[GoldFlag]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Splits executed candidates by what is known of their questions.

    `rows`: a candidate each, `question` the row number of its question; `questions`: with the columns `flags` (of
    `gold`) and `lost_tables` (of `prompts`). Returns the candidates whose question has none of `gold_reasons`; and for
    each of these reasons how many questions and candidates it was the first for: columns reason, questions, candidates.
    """
    reasons = gold_reasons(drop_flags)
    reason = questions.select(first_reason(reasons))["reason"]
    counts = rows["question"].value_counts(name="candidates")
    counts = counts.group_by(reason=reason.gather(counts["question"])).agg(
        questions=pl.len(), candidates=pl.col("candidates").sum()
    )
    excluded = pl.DataFrame({"reason": list(reasons)}).join(counts, on="reason", how="left", maintain_order="left")
    return rows.filter(reason.is_null().gather(rows["question"])), excluded.fill_null(0)
