"""Why a candidate has another verdict in the new version.

A verdict follows from the SQL, the database, the gold, the contract, the SQLite version, the budget and, for
`undecided`, the safety nets. A reason is whatever of these differs between the two; several stand together. `code`
stands alone: nothing that is known to decide a verdict differs, so the code does. A difference that cannot have
mattered is no reason:

- `gold`: its SQL, its verdict, or, for a flip between match and mismatch under `strict`, the flag that its order is
  unstable. Its digest and its other flags decide no verdict.
- `budget`: one verdict is `over_budget`, and the other took more steps than that one was given. So it says neither
  which param changed nor whether it was the gold's own steps; but it needs no params, and is exact.
- `limits`: one verdict is `undecided`, by a net whose params differ; `machine`: by the clock, memory or a lost process,
  and nothing differs.
- `unknown`: nothing is known to differ, and something that may have mattered is not known of both versions.
"""

from functools import reduce
from operator import or_

import polars as pl

from stages.datasets.verdicts import MACHINE_MADE
from stages.diffing.versions import Version

REASONS = {
    "sql": "other SQL was found in the same completion",
    "database": "the database file has other bytes",
    "gold": "the gold has another SQL, another verdict, or its order is no longer, or only now, seen as unstable",
    "contract": "another comparison contract",
    "sqlite_version": "another SQLite",
    "budget": "it needed more VM steps than it may take in the other version",
    "limits": "a safety net was set otherwise",
    "machine": "a safety net ended it, by the clock, memory or a lost process, and nothing known differs",
    "code": "nothing that decides a verdict differs but the code: look into these",
    "unknown": "nothing known differs, but not all is known of both versions",
}
"""Every reason, and what it means."""

NETS = {"time": ["wall_seconds"], "memory": ["memory_mb"], "size": ["max_rows", "result_mb"]}
"""error_class of an undecided candidate to the params of the net that it met."""

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
"""Reason, the dataset and column that show it, and what that column is called beside the others."""

_GIVEN = r"needs more than (\d+) steps"


def reasons_of(old: Version, new: Version) -> pl.Expr:
    """The reasons of a flip, joined by ` + `."""
    undecided, net = _either("verdict", "undecided"), _net()
    machine = undecided & (net.is_null() | net.is_in(MACHINE_MADE))
    told, unsure = _inputs(old, new)
    told |= {"budget": _budget(old, new), "limits": undecided & _limits(old, new)}
    if old.params is None or new.params is None:
        unsure |= undecided & (net.is_null() | net.is_in(list(NETS)) | _either("verdict", "over_budget"))
    names = [pl.when(applies).then(pl.lit(reason)) for reason, applies in told.items()]
    found = pl.concat_str(names, separator=" + ", ignore_nulls=True)
    residual = pl.when(unsure).then(pl.lit("unknown")).when(machine).then(pl.lit("machine")).otherwise(pl.lit("code"))
    return pl.when(found == "").then(residual).otherwise(found)


def differ(column: str) -> pl.Expr:
    """Where `column` and `<column>_new` differ; a NULL equals a NULL."""
    return pl.col(column).ne_missing(pl.col(f"{column}_new"))


def _inputs(old: Version, new: Version) -> tuple[dict[str, pl.Expr], pl.Expr]:
    """What a verdict follows from and stands in the datasets: reason to whether it applies, and whether one that may
    matter cannot be compared."""
    swapped = _either("verdict", "match") & _either("verdict", "mismatch") & _either("contract", "strict")
    told: dict[str, pl.Expr] = {}
    unsure = pl.lit(False)
    for reason, dataset, column, name in _INPUTS:
        matters = swapped if column == "flags" else pl.lit(True)
        if old.has(dataset, column) and new.has(dataset, column):
            told[reason] = told.get(reason, pl.lit(False)) | (matters & differ(name))
        else:
            unsure |= matters
    return told, unsure


def _budget(old: Version, new: Version) -> pl.Expr:
    over, undecided = _either("verdict", "over_budget"), _either("verdict", "undecided")
    written = _of("over_budget", "error").str.extract(_GIVEN).cast(pl.Int64)
    took, given = _not_of("over_budget", "steps"), pl.coalesce(written, _of("over_budget", "steps"))
    other = _changed(old, new, "budget_floor", "budget_factor") | differ("gold_steps")
    return over & (took > given).fill_null(undecided & other)  # a query that the clock ended has no steps


def _limits(old: Version, new: Version) -> pl.Expr:
    """Whether the net that the undecided side met is set otherwise; it is not known which net a gold met."""
    net = _net()
    any_net = _changed(old, new, *(name for names in NETS.values() for name in names))
    return reduce(or_, ((net == name) & _changed(old, new, *names) for name, names in NETS.items())).fill_null(any_net)


def _net() -> pl.Expr:
    """The error_class of the undecided side if it is a net; NULL: the gold met one, and it tells how the candidate
    itself ended."""
    told = _of("undecided", "error_class")
    return pl.when(told.is_in(_UNDECIDED)).then(told)


def _changed(old: Version, new: Version, *names: str) -> pl.Expr:
    """Whether one of these params of `exec_results` is known to differ."""
    before, after = old.params, new.params
    if before is None or after is None:
        return pl.lit(False)
    return pl.lit(any(before.get(f"exec_results.{name}") != after.get(f"exec_results.{name}") for name in names))


def _either(column: str, value: str) -> pl.Expr:
    return pl.col(column).eq_missing(value) | pl.col(f"{column}_new").eq_missing(value)


def _of(verdict: str, column: str) -> pl.Expr:
    """The value of the side that has this verdict."""
    return pl.when(pl.col("verdict") == verdict).then(pl.col(column)).otherwise(pl.col(f"{column}_new"))


def _not_of(verdict: str, column: str) -> pl.Expr:
    """The value of the side that has not this verdict."""
    return pl.when(pl.col("verdict") == verdict).then(pl.col(f"{column}_new")).otherwise(pl.col(column))
