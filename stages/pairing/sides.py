"""Which candidates may be chosen, which may be rejected, and why the others are neither."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from stages.pairing.equal_sql import first_equal, squeezed
from stages.pairing.rows import GOLD, LAST, VERDICT, order_in

REASONS = (
    "undecided", "gold_error", "not_in_neg_filter", "blank", "equal_to_right", "right_by_accident", "duplicate",
)  # fmt: skip
"""Why a candidate is on neither side."""


@dataclass(frozen=True)
class Sides:
    """The texts that may be chosen and those that may be rejected: columns question, candidate_id, verdict, text,
    samples, witness. Rows are sorted by question, then by sample; a gold query (candidate_id is NULL) stands last.

    `samples`: the samples of the question with equal SQL, whatever became of them. No text of a question is on both
    sides. `dropped`: reason to how many candidates it kept out.
    """

    chosen: pl.DataFrame
    rejected: pl.DataFrame
    dropped: Counter[str]

    def groups(self) -> pl.DataFrame:
        """The questions that have texts on both sides, sorted: question, and of each side how many texts (chosen,
        rejected) and the row of the first (first_chosen, first_rejected)."""
        chosen, rejected = (
            side.with_row_index("row").group_by("question", maintain_order=True)
            .agg(pl.len().alias(name), pl.col("row").first().alias(f"first_{name}"))
            for name, side in (("chosen", self.chosen), ("rejected", self.rejected))
        )  # fmt: skip
        return chosen.join(rejected, on="question", maintain_order="left")


def split_sides(
    rows: pl.DataFrame, golds: pl.DataFrame, rejected_verdicts: Sequence[str], dedup: bool, keep_gold: bool,
    counterexamples: int,
) -> Sides:  # fmt: skip
    """Splits the candidates of some questions.

    `rows`: of `candidate_rows` and `with_witnesses`, sorted by candidate_id; `golds`: question and text of the gold
    queries that are usable. A candidate that one of the first `counterexamples` databases refutes was right by
    accident, and is on neither side; its text stays a right one.
    """
    rows = _with_golds(rows, golds)
    verdict, first = pl.col("verdict"), pl.col("first")
    right = rows.filter(verdict.is_in(["match", GOLD]))["first"].unique()
    reason = (
        pl.when(verdict == GOLD).then(pl.lit(GOLD))
        .when((verdict == "match") & (pl.col("witness_number") <= counterexamples)).then(pl.lit("right_by_accident"))
        .when(verdict == "match").then(None)
        .when(verdict.is_in(["undecided", "gold_error"])).then(verdict.cast(pl.String))
        .when(~verdict.is_in(rejected_verdicts)).then(pl.lit("not_in_neg_filter"))
        .when(pl.col("squeezed") == "").then(pl.lit("blank"))
        .when(first.is_in(right.implode())).then(pl.lit("equal_to_right"))
    )  # fmt: skip
    reasons = rows.select(reason.cast(pl.Enum([GOLD, *REASONS])).alias("reason"))["reason"]
    dropped = Counter(dict(reasons.drop_nulls().value_counts().iter_rows()))
    del dropped[GOLD]
    kept = rows.filter(reasons.is_null()).drop("squeezed")
    if dedup:
        distinct = kept.filter(first.is_first_distinct())
        dropped["duplicate"] = kept.height - distinct.height
        kept = distinct
    chosen, rejected = kept.filter(verdict == "match"), kept.filter(verdict != "match")
    if keep_gold:
        unsaid = rows.filter(verdict == GOLD).join(chosen, on="first", how="anti").select(chosen.columns)
        chosen = pl.concat([chosen, unsaid]).sort("question", maintain_order=True)
    return Sides(chosen, rejected, dropped)


def _with_golds(rows: pl.DataFrame, golds: pl.DataFrame) -> pl.DataFrame:
    """The rows and those of the golds of their questions, in order, with `squeezed`, `first`, the number of the first
    row of the question that has equal SQL, and `samples`, how many candidates of the question have."""
    golds = golds.filter(pl.col("question").is_in(rows["question"].unique().implode()))
    golds = golds.select("question", "text", verdict=pl.lit(GOLD, VERDICT), order=order_in(pl.col("question"), LAST))
    rows = pl.concat([rows, golds], how="diagonal").sort("order", maintain_order=True)
    rows = rows.with_columns(squeezed=squeezed(rows["text"]))
    rows = rows.with_columns(first=first_equal(rows))
    return rows.with_columns(samples=(pl.col("verdict") != GOLD).sum().over("first"))
