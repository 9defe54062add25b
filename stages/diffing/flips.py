"""Flips: candidates with another verdict in the new version, counted by reasons, with their pairs and examples."""

from dataclasses import dataclass, field

import polars as pl

from stages.datasets.catalog import DATASETS
from stages.diffing.flip_reasons import differ, reasons_of
from stages.diffing.rows import EXAMPLES, MOST_KEYS
from stages.diffing.versions import Version


@dataclass(frozen=True)
class Change:
    """The number of candidates (or golds) with verdict `old` in the old version and `new` in the new one. `reasons`: of
    candidates, joined by ` + `."""

    old: str
    new: str
    count: int
    reasons: str = ""


@dataclass(frozen=True)
class Flips:
    """The candidates in both versions with another verdict, counted by reasons and by verdicts; `golds`: golds with
    another verdict. `removed_pairs`, `added_pairs`: pairs with a flipped candidate that only one version has.
    `candidates`: the flipped ones, sorted by id, MOST_KEYS at most; `examples`: some of each combination of reasons,
    with texts."""

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
    both = _verdicts(old, new, "exec_results", "candidate_id")
    ids = both.filter(differ("verdict"))["candidate_id"]
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


def _verdicts(old: Version, new: Version, dataset: str, key: str) -> pl.DataFrame:
    before, after = (version.tables[dataset].read(key, "verdict") for version in (old, new))
    return before.join(after, on=key, suffix="_new")


def _judged(version: Version, ids: pl.Series) -> pl.DataFrame:
    """These candidates with all that decides their verdicts; NULL in columns that the version lacks."""
    results = _filled(version.tables["exec_results"].rows(ids), "exec_results")
    golds = results.select("question_id").unique()
    for dataset, columns in {"questions": ["question", "gold_sql"], "gold": ["verdict", "steps", "flags"]}.items():
        table = version.tables.get(dataset)
        known = table.rows(golds["question_id"]) if table else pl.DataFrame(schema=DATASETS[dataset].columns)
        lines = _filled(known, dataset).select("question_id", pl.col(columns).name.prefix(f"{dataset}_"))
        golds = golds.join(lines, on="question_id", how="left")
    unstable = pl.col("gold_flags").str.split(",").list.contains("order_unstable")
    return results.join(golds.with_columns(unstable=unstable), on="question_id", how="left")


def _filled(rows: pl.DataFrame, dataset: str) -> pl.DataFrame:
    columns = DATASETS[dataset].columns.items()
    missing = {name: pl.lit(None, dtype) for name, dtype in columns if name not in rows.columns}
    return rows.with_columns(**missing)


def _pairs_with(old: Version, new: Version, ids: pl.Series) -> tuple[int, int]:
    """The number of pairs with one of these candidates that only `old` has, and that only `new` has."""
    columns = ("pair_id", "chosen_id", "rejected_id")
    if not all(version.has("pairs", *columns) for version in (old, new)):
        return 0, 0
    pairs = [version.tables["pairs"].read(*columns) for version in (old, new)]
    flipped = pl.col("chosen_id").is_in(ids.implode()) | pl.col("rejected_id").is_in(ids.implode())
    before, after = (frame.filter(flipped) for frame in pairs)
    removed, added = before.join(pairs[1], on="pair_id", how="anti"), after.join(pairs[0], on="pair_id", how="anti")
    return removed.height, added.height


def _gold_flips(old: Version, new: Version) -> list[Change]:
    """The golds in both versions with another verdict, counted by verdicts."""
    if not all(version.has("gold", "verdict") for version in (old, new)):
        return []
    flipped = _verdicts(old, new, "gold", "question_id").filter(differ("verdict"))
    counts = flipped.group_by("verdict", "verdict_new").len("count")
    counts = counts.sort("count", "verdict", "verdict_new", descending=[True, False, False])
    return [Change(*row) for row in counts.iter_rows()]


def _examples(flipped: pl.DataFrame) -> list[dict[str, object]]:
    """The first flips of each combination of reasons, with the texts to judge them by."""
    first = flipped.group_by("reasons", maintain_order=True).head(EXAMPLES).sort("reasons", "candidate_id")
    return first.select(
        "reasons", "candidate_id", "question_id", old="verdict", new="verdict_new", old_error="error",
        new_error="error_new", question="questions_question_new", old_gold="questions_gold_sql",
        new_gold="questions_gold_sql_new", old_sql="sql", new_sql="sql_new",
    ).to_dicts()  # fmt: skip
