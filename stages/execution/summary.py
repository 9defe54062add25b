"""Counts over the verdicts of many candidates, which several reports share."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import polars as pl

from stages.datasets.difficulties import by_difficulty
from stages.datasets.verdicts import VERDICTS
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.records import Outcome

_SLOWEST = 10


def outcome_columns(outcomes: Sequence[Outcome]) -> list[pl.Series]:
    """The outcomes as columns: verdict, error_class, error, digest, steps, rows, and for each contract, under its name,
    the verdict under it."""
    texts, numbers = ("verdict", "error_class", "error", "digest"), ("steps", "rows")
    columns = [pl.Series(name, [getattr(outcome, name) for outcome in outcomes], pl.String) for name in texts]
    columns += [pl.Series(name, [getattr(outcome, name) for outcome in outcomes], pl.Int64) for name in numbers]
    for place, contract in enumerate(CONTRACT_NAMES):
        columns.append(pl.Series(contract, [outcome.verdicts[place] for outcome in outcomes], pl.String))
    return columns


def summary(candidates: pl.DataFrame, key: str) -> dict[str, Any]:
    """Counts over candidates, one a row: columns db_id, sql, source, difficulty, those of `outcome_columns`, and `key`.

    Per verdict and error class; `matches` under each contract; `flips`: for each two contracts, the candidates that
    match under exactly one of them; the verdicts of each difficulty and source; `slowest`: the queries that took the
    most VM steps, each once. Nothing in it depends on the machine.
    """
    classes = candidates.drop_nulls("error_class").group_by("error_class").len().sort("error_class")
    matches = {name: candidates[name] == "match" for name in CONTRACT_NAMES}
    shown = candidates.select(key, "db_id", "verdict", "steps", "sql").drop_nulls("steps")
    slowest = shown.sort("steps", key, descending=[True, False], maintain_order=True)
    slowest = slowest.unique(["db_id", "sql"], keep="first", maintain_order=True).head(_SLOWEST)
    difficulties = _verdicts_by(candidates, "difficulty")
    return {
        "distinct_queries": candidates.select("db_id", "sql").n_unique(),
        "verdicts": verdict_counts(candidates),
        "error_classes": dict(classes.iter_rows()),
        "matches": {name: int(matched.sum()) for name, matched in matches.items()},
        "flips": {f"{a}_{b}": int((matches[a] ^ matches[b]).sum()) for a, b in combinations(CONTRACT_NAMES, 2)},
        "difficulties": {name: difficulties[name] for name in sorted(difficulties, key=by_difficulty)},
        "sources": _verdicts_by(candidates, "source"),
        "slowest": slowest.to_dicts(),
    }


def verdict_counts(candidates: pl.DataFrame) -> dict[str, int]:
    """How many rows have each verdict (column verdict), in the order of VERDICTS."""
    counts = dict(candidates.group_by("verdict").len().iter_rows())
    return {verdict: counts.get(verdict, 0) for verdict in VERDICTS}


def _verdicts_by(candidates: pl.DataFrame, column: str) -> dict[str, dict[str, int]]:
    few = candidates.select(column, "verdict").sort(column)  # a copy of all columns takes much memory
    groups = few.partition_by(column, as_dict=True, maintain_order=True)
    return {str(name): {v: n for v, n in verdict_counts(group).items() if n} for (name,), group in groups.items()}
