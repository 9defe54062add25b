"""Each flip has the reason that made it: verdicts of the engine itself, one thing being changed, and made-up rows."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.core.files import sha256_file
from stages.diffing.flip_reasons import REASONS
from stages.diffing.flips import Change, Flips, flips_of
from stages.diffing.versions import Version
from stages.execution.comparison import Contract
from stages.execution.sandbox import Database, Limits
from stages.execution.worker import Budget, Question, Referee, Rules
from tests.diffing.world import LIMITS, PARAMS, frame, keyed, version
from tests.execution.world import counting, make_database

CANDIDATES = {
    "right": "SELECT name FROM singer ORDER BY age",
    "other_order": "SELECT name FROM singer ORDER BY name DESC",
    "no_order": "SELECT name FROM singer ORDER BY singer_id",
    "twice": "SELECT name FROM singer UNION ALL SELECT name FROM singer",
    "long": f"SELECT name FROM singer WHERE ({counting(500)}) > 1 ORDER BY age",
    "wrong": "SELECT title FROM album",
    "broken": "SELECT nothing FROM singer",
    "many": "SELECT a.name FROM singer a, singer b, singer c ORDER BY a.age",
    "none": "",
}
GOLD = "SELECT name FROM singer ORDER BY age"


@dataclass
class Setting:
    """All that decides a verdict."""

    database: Path
    gold: str = GOLD
    flags: str = ""
    contract: Contract = "strict"
    floor: int = 1_000_000
    limits: dict[str, int] = field(default_factory=lambda: dict(LIMITS))
    candidates: dict[str, str] = field(default_factory=lambda: dict(CANDIDATES))

    def version(self) -> Version:
        """The datasets that the engine makes in this setting."""
        database = Database(self.database)
        limits = Limits(**self.limits)
        gold = database.execute(self.gold, 50_000_000, Limits(**LIMITS))  # as stage gold does, by its own params
        database.close()
        referee = Referee(Rules(self.contract, Budget(self.floor, 1), limits, 1000))
        question = Question(str(self.database), self.gold, gold.status, gold.steps, self.flags)
        rows = []
        for name, sql in self.candidates.items():
            verdict, _, error_class, error, steps, count, digest, _ = referee((question, sql))
            rows.append({
                "candidate_id": name, "question_id": "q", "db_sha256": sha256_file(self.database), "sql": sql,
                "verdict": verdict, "error_class": error_class, "error": error, "steps": steps, "rows": count,
                "digest": digest, "contract": self.contract, "sqlite_version": "3",
            })  # fmt: skip
        params = {"contract": self.contract, "budget_floor": self.floor, "budget_factor": 1, **self.limits}
        return version(
            params={"exec_results": params}, exec_results=frame("exec_results", *rows),
            questions=keyed("questions", "q", gold_sql=self.gold, question="Who?"),
            gold=keyed("gold", "q", verdict=gold.status, steps=gold.steps, flags=self.flags),
        )  # fmt: skip


def other_rows(setting: Setting) -> Setting:
    """The same database with one singer only."""
    changed = setting.database.with_name("other.sqlite")
    changed.write_bytes(setting.database.read_bytes())
    with closing(sqlite3.connect(changed)) as connection, connection:  # the second commits
        connection.execute("DELETE FROM singer WHERE singer_id > 1")
    return replace(setting, database=changed)


CHANGES: dict[str, tuple[Callable[[Setting], Setting], set[str]]] = {
    "budget": (lambda one: replace(one, floor=3000), {"long"}),
    "contract": (lambda one: replace(one, contract="bird"), {"other_order", "twice", "many"}),
    "database": (other_rows, {"other_order", "many"}),
    "gold": (lambda one: replace(one, gold="SELECT title FROM album"), {"right", "no_order", "long", "wrong"}),
    "gold: broken": (lambda one: replace(one, gold="SELECT x"), set(CANDIDATES)),
    "gold: flag": (lambda one: replace(one, flags="empty,order_unstable"), {"other_order"}),
    "limits": (lambda one: replace(one, limits={**LIMITS, "max_rows": 3}), set(CANDIDATES)),  # the gold meets it
    "sql": (lambda one: replace(one, candidates={**CANDIDATES, "none": GOLD}), {"none"}),
}
"""Reason to what is changed, and the candidates whose verdict that changes."""


def flips(old: Version, new: Version) -> Flips:
    found = flips_of(old, new)
    assert found is not None
    return found


def reasons(old: Version, new: Version) -> dict[str, str]:
    """Candidate to its reasons."""
    return {str(one["candidate_id"]): str(one["reasons"]) for one in flips(old, new).candidates}


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(make_database(tmp_path))


@pytest.mark.parametrize("changed", CHANGES)
def test_what_was_changed_is_the_reason_of_each_flip_that_it_made(changed: str, setting: Setting) -> None:
    change, expected = CHANGES[changed]
    old, new = setting.version(), change(setting).version()
    reason = changed.partition(":")[0]
    assert reasons(old, new) == reasons(new, old) == dict.fromkeys(expected, reason)


def test_two_changes_stand_together_where_both_differ(setting: Setting) -> None:
    both = replace(other_rows(setting), contract="bird")
    assert set(reasons(setting.version(), both.version()).values()) == {"database + contract"}


def test_what_cannot_have_mattered_is_no_reason(setting: Setting) -> None:
    old, new = setting.version(), replace(setting, flags="limit_tie,empty", floor=900_000).version()
    assert flips(old, new).flipped == 0
    rows = old.tables["exec_results"].read("candidate_id", "verdict", *INPUTS)
    right = pl.when(pl.col("candidate_id") == "right").then(pl.lit("mismatch")).otherwise("verdict")
    relabelled = version(exec_results=rows.with_columns(verdict=right)).tables["exec_results"]
    assert reasons(replace(old, tables={**old.tables, "exec_results": relabelled}), new) == {"right": "code"}


INPUTS = ("question_id", "db_sha256", "sql", "error_class", "error", "steps", "contract", "sqlite_version")


def one(
    verdict: str, params: dict[str, int] | None = None, gold: dict[str, Any] | None = None, **values: Any
) -> Version:
    """A version with one candidate; `params` beside the usual ones, {} of an export: none are known."""
    same = {"question_id": "q", "db_sha256": "d", "sql": "SELECT 1", "contract": "strict", "sqlite_version": "3"}
    known = None if params == {} else {"exec_results": {**PARAMS["exec_results"], **(params or {})}}
    return version(
        params=known, exec_results=keyed("exec_results", "c", verdict=verdict, **{**same, **values}),
        questions=keyed("questions", "q", gold_sql="SELECT 1"),
        gold=keyed("gold", "q", **{"verdict": "ok", "steps": 9, "flags": "", **(gold or {})}),
    )  # fmt: skip


MATCH, MISMATCH = one("match", steps=10), one("mismatch", steps=10)
OVER = one("over_budget", steps=1400, error="needs more than 1000 steps", error_class=None)
TIMED_OUT = one("undecided", error_class="time")
CASES: list[tuple[str, Version, Version]] = [
    ("code", MATCH, MISMATCH),
    ("sqlite_version", MATCH, one("mismatch", sqlite_version="4")),
    ("sql", MATCH, one("mismatch", sql="SELECT 2")),
    ("sql + sqlite_version", MATCH, one("no_sql", sql="", sqlite_version="4")),
    ("gold", MATCH, one("undecided", gold={"verdict": "undecided", "steps": None})),
    ("code", MATCH, one("mismatch", gold={"digest": "other", "flags": "limit_tie", "steps": 8})),
    ("code", one("match", contract="bird"), one("mismatch", contract="bird", gold={"flags": "order_unstable"})),
    ("budget", OVER, one("mismatch", steps=1001)),  # exact, although the query was ended a few steps later
    ("code", OVER, one("mismatch", steps=1000)),
    ("code", OVER, one("exec_error", steps=None)),
    ("budget", one("over_budget", {}, steps=1400), one("match", {}, steps=1500)),
    ("code", one("over_budget", {}, steps=1400), one("match", {}, steps=1400)),
    ("database + budget", OVER, one("match", steps=2000, db_sha256="e")),
    ("machine", MATCH, TIMED_OUT),
    ("machine", MATCH, one("undecided", error_class="lost")),
    ("machine", MATCH, one("undecided", error="the gold query: met the wall clock")),
    ("machine", OVER, TIMED_OUT),
    ("machine", MATCH, one("undecided", {"memory_mb": 64}, error_class="time")),
    ("limits", MATCH, one("undecided", {"wall_seconds": 1}, error_class="time")),
    ("limits", MATCH, one("undecided", {"memory_mb": 64}, error_class="memory")),
    ("limits", MATCH, one("undecided", {"result_mb": 1}, error_class="size")),
    ("limits", MATCH, one("undecided", {"max_rows": 1}, error="the gold query: more than 1 rows")),
    ("code", MATCH, one("undecided", error_class="size")),
    ("code", MATCH, one("undecided", error_class="text")),
    ("machine", MATCH, one("undecided", error_class="no_such_column")),  # of the candidate, while the gold met a net
    ("budget", OVER, one("undecided", {"budget_floor": 2000}, error_class="time")),
    ("budget", OVER, one("undecided", gold={"steps": 900}, error_class="time")),
    ("unknown", MATCH, one("undecided", {}, error_class="time")),
    ("unknown", OVER, one("undecided", {}, error_class="lost")),
    ("database", MATCH, one("undecided", {}, error_class="time", db_sha256="e")),
    ("code", one("match", {}), one("mismatch", {})),
]


@pytest.mark.parametrize(("reason", "old", "new"), CASES, ids=range(len(CASES)))
def test_a_flip_has_its_reason_whichever_version_is_the_old_one(reason: str, old: Version, new: Version) -> None:
    assert reasons(old, new) == reasons(new, old) == {"c": reason}


@pytest.mark.parametrize("column", ["sqlite_version", "contract", "sql", "db_sha256"])
def test_a_column_that_an_old_version_lacks_makes_the_reason_unknown(column: str) -> None:
    less = version(exec_results=MATCH.tables["exec_results"].read("candidate_id", "verdict", *INPUTS).drop(column))
    old = replace(MATCH, tables={**MATCH.tables, **less.tables})
    assert reasons(old, MISMATCH) == {"c": "unknown"}
    assert reasons(old, one("gold_error", gold={"verdict": "exec_error"})) == {"c": "gold"}


@pytest.mark.parametrize("dataset", ["questions", "gold"])
def test_without_the_golds_a_flip_is_not_blamed_on_the_code(dataset: str) -> None:
    old = replace(MATCH, tables={name: table for name, table in MATCH.tables.items() if name != dataset})
    assert reasons(old, MISMATCH) == {"c": "unknown"}


def test_every_reason_is_met_here_and_is_one_of_the_closed_set() -> None:
    met = {reason for names, *_ in CASES for reason in names.split(" + ")}
    assert met | {name.partition(":")[0] for name in CHANGES} == set(REASONS)


def test_flips_of_golds_and_pairs_are_counted() -> None:
    def made(verdicts: str, golds: tuple[str, str], pairs: dict[str, tuple[str, str]]) -> Version:
        rows = [{"candidate_id": str(place), "verdict": VERDICT[letter]} for place, letter in enumerate(verdicts)]
        drawn = [{"pair_id": key, "chosen_id": a, "rejected_id": b} for key, (a, b) in pairs.items()]
        return version(
            exec_results=frame("exec_results", *rows), pairs=frame("pairs", *drawn),
            gold=frame("gold", *({"question_id": str(place), "verdict": one} for place, one in enumerate(golds))),
        )

    old = made("mxxm", ("ok", "ok"), {"a": ("0", "1"), "b": ("3", "2"), "c": ("3", "1")})
    new = made("xxxmm", ("ok", "over_budget"), {"c": ("3", "1"), "d": ("3", "0"), "e": ("4", "2")})
    found = flips(old, new)
    assert (found.candidates_in_both, found.flipped, found.removed_pairs, found.added_pairs) == (4, 1, 1, 1)
    assert found.golds == [Change("ok", "over_budget", 1)]
    assert [(flip.old, flip.new, flip.count) for flip in found.verdicts] == [("match", "mismatch", 1)]


VERDICT = {"m": "match", "x": "mismatch"}


def test_versions_without_labels_have_no_flips_and_no_candidate_in_both_is_no_flip() -> None:
    assert flips_of(version(), MATCH) is None and flips_of(MATCH, version()) is None
    other = version(exec_results=keyed("exec_results", "another", verdict="match"))
    assert flips(MATCH, other).candidates_in_both == 0
