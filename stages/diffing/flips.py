"""Candidates whose verdict is another in the new version: how many, which, and what came of it."""

from dataclasses import dataclass, field

import polars as pl

from stages.core.tables import COLUMNS
from stages.diffing.flip_reasons import differ, reasons_of
from stages.diffing.rows import EXAMPLES, MOST_KEYS
from stages.diffing.versions import Version


@dataclass(frozen=True)
class Change:
    """How many candidates (or golds) had the verdict `old` and have `new`, for these reasons (joined by ` + `; none are
    told of golds)."""

    old: str
    new: str
    count: int
    reasons: str = ""


@dataclass(frozen=True)
class Flips:
    """Of the candidates in both versions, how many have another verdict, by reasons and by verdicts; `golds`: the
    same of golds. `removed_pairs`, `added_pairs`: pairs that only one version has, with a flipped candidate.
    `candidates`: the flipped, sorted by id, MOST_KEYS at most; `examples`: some for each reasons, with texts."""

    candidates_in_both: int
    flipped: int
    reasons: dict[str, int]
    verdicts: list[Change]
    golds: list[Change]
    removed_pairs: int = 0
    added_pairs: int = 0
    candidates: list[dict[str, object]] = field(default_factory=list)
    examples: list[dict[str, object]] = field(default_factory=list)


def flips_of(old: Version, new: Version) -> Flips | None:
    """The flips between two versions; None where one of them has no exec_results."""
    if not all(version.has("exec_results", "verdict", "question_id") for version in (old, new)):
        return None
    golds = _gold_flips(old, new)
    few = [version.tables["exec_results"].read("candidate_id", "verdict") for version in (old, new)]
    both = few[0].join(few[1], on="candidate_id", suffix="_new")
    ids = both.filter(pl.col("verdict").ne_missing(pl.col("verdict_new")))["candidate_id"]
    if ids.is_empty():
        return Flips(both.height, 0, {}, [], golds)
    rows = _judged(old, ids).join(_judged(new, ids), on="candidate_id", suffix="_new").sort("candidate_id")
    flipped = rows.with_columns(reasons=reasons_of(old, new))
    counts = flipped.group_by("reasons", "verdict", "verdict_new").len("count")
    counts = counts.sort("count", "reasons", "verdict", "verdict_new", descending=[True, False, False, False])
    by_reason = counts.group_by("reasons").agg(pl.col("count").sum())
    by_reason = by_reason.sort("count", "reasons", descending=[True, False])
    shown = flipped.select("candidate_id", "question_id", old="verdict", new="verdict_new", reasons="reasons")
    removed, added = _pairs_with(old, new, ids)
    return Flips(
        both.height, flipped.height, dict(by_reason.iter_rows()),
        [Change(*row) for row in counts.select("verdict", "verdict_new", "count", "reasons").iter_rows()],
        golds, removed, added, shown.head(MOST_KEYS).to_dicts(), _examples(flipped),
    )  # fmt: skip


def _judged(version: Version, ids: pl.Series) -> pl.DataFrame:
    """What is known of these candidates and of what their verdicts follow from; NULL in columns that are not there."""
    results = _filled(version.tables["exec_results"].rows(ids), "exec_results")
    golds = results.select("question_id").unique()
    for dataset, columns in {"questions": ["question", "gold_sql"], "gold": ["verdict", "steps", "flags"]}.items():
        table = version.tables.get(dataset)
        known = table.rows(golds["question_id"]) if table else pl.DataFrame(schema=COLUMNS[dataset])
        told = _filled(known, dataset).select("question_id", pl.col(columns).name.prefix(f"{dataset}_"))
        golds = golds.join(told, on="question_id", how="left")
    unstable = pl.col("gold_flags").str.split(",").list.contains("order_unstable")
    return results.join(golds.with_columns(unstable=unstable), on="question_id", how="left")


def _filled(rows: pl.DataFrame, dataset: str) -> pl.DataFrame:
    missing = {name: pl.lit(None, dtype) for name, dtype in COLUMNS[dataset].items() if name not in rows.columns}
    return rows.with_columns(**missing)


def _pairs_with(old: Version, new: Version, ids: pl.Series) -> tuple[int, int]:
    """How many of the pairs that only `old` has, and of those that only `new` has, have one of these candidates."""
    columns = ("pair_id", "chosen_id", "rejected_id")
    if not all(version.has("pairs", *columns) for version in (old, new)):
        return 0, 0
    pairs = [version.tables["pairs"].read(*columns) for version in (old, new)]
    flipped = pl.col("chosen_id").is_in(ids.implode()) | pl.col("rejected_id").is_in(ids.implode())
    alone = [one.join(other, on="pair_id", how="anti") for one, other in (pairs, reversed(pairs))]
    removed, added = (rows.filter(flipped).height for rows in alone)
    return removed, added


def _gold_flips(old: Version, new: Version) -> list[Change]:
    """Of the golds that both have, those whose verdict is another."""
    if not all(version.has("gold", "verdict") for version in (old, new)):
        return []
    one, other = (version.tables["gold"].read("question_id", "verdict") for version in (old, new))
    both = one.join(other, on="question_id", suffix="_new").filter(differ("verdict"))
    counts = both.group_by("verdict", "verdict_new").len("count")
    counts = counts.sort("count", "verdict", "verdict_new", descending=[True, False, False])
    return [Change(*row) for row in counts.iter_rows()]


def _examples(flipped: pl.DataFrame) -> list[dict[str, object]]:
    """The first flips for each reasons, with what a person wants to see of them."""
    first = flipped.group_by("reasons", maintain_order=True).head(EXAMPLES).sort("reasons", "candidate_id")
    return first.select(
        "reasons", "candidate_id", "question_id", old="verdict", new="verdict_new", old_error="error",
        new_error="error_new", question="questions_question_new", old_gold="questions_gold_sql",
        new_gold="questions_gold_sql_new", old_sql="sql", new_sql="sql_new",
    ).to_dicts()  # fmt: skip
