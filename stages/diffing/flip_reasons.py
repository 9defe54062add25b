"""Why a candidate has another verdict in the new version.

A verdict depends on the SQL, the database, the gold, the contract, the SQLite version, the budget and, for
`undecided`, the safety nets. Each of these that differs between the versions is a reason; a flip may have several.
`code` stands alone: nothing else that decides a verdict differs, so the code must. A difference that cannot have
mattered is no reason:

- `gold`: its SQL or its verdict differs, or, for a flip between match and mismatch under `strict`, the flag that its
  order is unstable. Its digest and its other flags decide no verdict.
- `budget`: one verdict is `over_budget`, and the query took more steps in the other version than its budget there. This
  is exact and needs no params, but does not say whether a param or the gold's own steps changed.
- `limits`: one verdict is `undecided`, by a safety net whose params differ. `machine`: by the clock, memory or a lost
  process, and nothing known differs.
- `unknown`: nothing is known to differ, and something that may have mattered is not known of both versions.
"""

from collections.abc import Mapping
from functools import reduce
from operator import or_

import polars as pl

from stages.datasets.verdicts import NONDETERMINISTIC_ERRORS
from stages.diffing.versions import Version

REASONS = {
    "sql": "other SQL was found in the same completion",
    "database": "the database file has other bytes",
    "gold": "the gold has other SQL or another verdict, or only one version finds its order unstable",
    "contract": "another comparison contract",
    "sqlite_version": "another SQLite",
    "budget": "it needed more VM steps than the other version allows",
    "limits": "a safety net has another limit",
    "machine": "a safety net ended it, by the clock, memory or a lost process, and nothing known differs",
    "code": "only the code can differ: look into these",
    "unknown": "nothing known differs, but not all is known of both versions",
}
"""Every reason, and what it means."""

NETS = {"time": ["wall_seconds"], "memory": ["memory_mb"], "size": ["max_rows", "result_mb"]}
"""error_class of an undecided candidate to the params of the safety net that ended it."""

_UNDECIDED = ("time", "memory", "size", "text", "file", "lost")

_INPUTS = (
    ("sql", "exec_results", "sql", "sql"),
    ("database", "exec_results", "db_sha256", "db_sha256"),
    ("gold", "questions", "gold_sql", "questions_gold_sql"),
    ("gold", "gold", "verdict", "gold_verdict"),
    ("gold", "gold", "flags", "unstable"),
    ("contract", "exec_results", "contract", "contract"),
    ("sqlite_version", "exec_results", "sqlite_version", "sqlite_version"),
)
"""Reason, the dataset and column that show it, and the name of that column in the joined table."""

_BUDGET_IN_ERROR = r"needs more than (\d+) steps"


def reasons_of(old: Version, new: Version) -> pl.Expr:
    """The reasons of a flip, joined by ` + `."""
    undecided, net = _either("verdict", "undecided"), _net()
    machine = undecided & (net.is_null() | net.is_in(NONDETERMINISTIC_ERRORS))
    applies, unsure = _inputs(old, new)
    applies |= {"budget": _budget(old, new), "limits": undecided & _limits(old, new)}
    if old.params is None or new.params is None:
        unsure |= undecided & (net.is_null() | net.is_in(list(NETS)) | _either("verdict", "over_budget"))
    reasons = [pl.when(condition).then(pl.lit(reason)) for reason, condition in applies.items()]
    joined = pl.concat_str(reasons, separator=" + ", ignore_nulls=True)
    residual = pl.when(unsure).then(pl.lit("unknown")).when(machine).then(pl.lit("machine")).otherwise(pl.lit("code"))
    return pl.when(joined == "").then(residual).otherwise(joined)


def differ(column: str) -> pl.Expr:
    """Where `column` and `<column>_new` differ; a NULL equals a NULL."""
    return pl.col(column).ne_missing(pl.col(f"{column}_new"))


def _inputs(old: Version, new: Version) -> tuple[dict[str, pl.Expr], pl.Expr]:
    """The reasons that the datasets show: reason to whether it applies; and whether an input that may matter cannot be
    compared."""
    swapped = _either("verdict", "match") & _either("verdict", "mismatch") & _either("contract", "strict")
    applies: dict[str, pl.Expr] = {}
    unsure = pl.lit(False)
    for reason, dataset, column, name in _INPUTS:
        matters = swapped if column == "flags" else pl.lit(True)
        if old.has(dataset, column) and new.has(dataset, column):
            applies[reason] = applies.get(reason, pl.lit(False)) | (matters & differ(name))
        else:
            unsure |= matters
    return applies, unsure


def _budget(old: Version, new: Version) -> pl.Expr:
    over, undecided = _either("verdict", "over_budget"), _either("verdict", "undecided")
    stated = _of("over_budget", "error").str.extract(_BUDGET_IN_ERROR).cast(pl.Int64)
    steps = pl.when(pl.col("verdict") == "over_budget").then(pl.col("steps_new")).otherwise(pl.col("steps"))
    budget = pl.coalesce(stated, _of("over_budget", "steps"))
    differs = _changed(old, new, "budget_floor", "budget_factor") | differ("gold_steps")
    return over & (steps > budget).fill_null(undecided & differs)  # a query that the clock ended has no steps


def _limits(old: Version, new: Version) -> pl.Expr:
    """Whether the safety net that ended the undecided side has another limit. Which net ended a gold is not known."""
    net = _net()
    any_net = _changed(old, new, *(param for params in NETS.values() for param in params))
    changed = [(net == name) & _changed(old, new, *params) for name, params in NETS.items()]
    return reduce(or_, changed).fill_null(any_net)


def _net() -> pl.Expr:
    """The error_class of the undecided side if it is that of a safety net. NULL: a net ended the gold, and the
    error_class is of the candidate itself."""
    error_class = _of("undecided", "error_class")
    return pl.when(error_class.is_in(_UNDECIDED)).then(error_class)


def _changed(old: Version, new: Version, *names: str) -> pl.Expr:
    """Whether one of these params of `exec_results`, or of `execution`, is known to differ."""
    before, after = old.params, new.params
    if before is None or after is None:
        return pl.lit(False)
    return pl.lit(any(_param(before, name) != _param(after, name) for name in names))


def _param(params: Mapping[str, object], name: str) -> object:
    """A param of `execution`; older versions have those in `exec_results`, too."""
    return params.get(f"execution.{name}", params.get(f"exec_results.{name}"))


def _either(column: str, value: str) -> pl.Expr:
    return pl.col(column).eq_missing(value) | pl.col(f"{column}_new").eq_missing(value)


def _of(verdict: str, column: str) -> pl.Expr:
    """The value of the side that has this verdict."""
    return pl.when(pl.col("verdict") == verdict).then(pl.col(column)).otherwise(pl.col(f"{column}_new"))
