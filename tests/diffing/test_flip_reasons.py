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
from stages.execution.records import Budget, GoldQuestion, Rules
from stages.execution.sandbox import Database, Limits
from stages.execution.worker import Worker
from tests.diffing.world import PARAMS, frame, keyed, version
from tests.execution.world import counting, make_database
from tests.workplace import EXECUTION

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
    limits: dict[str, int] = field(default_factory=lambda: dict(EXECUTION))
    candidates: dict[str, str] = field(default_factory=lambda: dict(CANDIDATES))

    def version(self) -> Version:
        """The datasets that the engine makes in this setting."""
        database = Database(self.database)
        limits = Limits(**self.limits)
        gold = database.execute(self.gold, 50_000_000, limits)  # as stage gold does
        database.close()
        worker = Worker(Rules(self.contract, Budget(self.floor, 1), limits, 1000))
        question = GoldQuestion(str(self.database), self.gold, gold.status, gold.steps, self.flags)
        rows = []
        for name, sql in self.candidates.items():
            outcome = worker((question, sql))
            rows.append({
                "candidate_id": name, "question_id": "q", "db_sha256": sha256_file(self.database), "sql": sql,
                "verdict": outcome.verdict, "error_class": outcome.error_class, "error": outcome.error,
                "steps": outcome.steps, "rows": outcome.rows, "digest": outcome.digest,
                "contract": self.contract, "sqlite_version": "3",
            })  # fmt: skip
        params = {"contract": self.contract, "budget_floor": self.floor, "budget_factor": 1}
        return version(
            params={"exec_results": params, "execution": self.limits}, exec_results=frame("exec_results", *rows),
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
    "gold + limits": (lambda one: replace(one, limits={**EXECUTION, "max_rows": 3}), set(CANDIDATES)),  # it meets it
    "sql": (lambda one: replace(one, candidates={**CANDIDATES, "none": GOLD}), {"none"}),
}
"""Reason to what is changed, and the candidates whose verdict that changes."""


def flips(old: Version, new: Version) -> Flips:
    result = flips_of(old, new)
    assert result is not None
    return result


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


def single(
    verdict: str, params: dict[str, int] | None = None, gold: dict[str, Any] | None = None, **values: Any
) -> Version:
    """A version with one candidate; `params`: usual ones that are changed, {} of an export: none are known."""
    same = {"question_id": "q", "db_sha256": "d", "sql": "SELECT 1", "contract": "strict", "sqlite_version": "3"}
    known = None if params == {} else {
        section: {name: (params or {}).get(name, value) for name, value in values.items()}
        for section, values in PARAMS.items()
    }
    return version(
        params=known, exec_results=keyed("exec_results", "c", verdict=verdict, **{**same, **values}),
        questions=keyed("questions", "q", gold_sql="SELECT 1"),
        gold=keyed("gold", "q", **{"verdict": "ok", "steps": 9, "flags": "", **(gold or {})}),
    )  # fmt: skip


MATCH, MISMATCH = single("match", steps=10), single("mismatch", steps=10)
OVER = single("over_budget", steps=1400, error="needs more than 1000 steps", error_class=None)
TIMED_OUT = single("undecided", error_class="time")
CASES: list[tuple[str, Version, Version]] = [
    ("code", MATCH, MISMATCH),
    ("sqlite_version", MATCH, single("mismatch", sqlite_version="4")),
    ("sql", MATCH, single("mismatch", sql="SELECT 2")),
    ("sql + sqlite_version", MATCH, single("no_sql", sql="", sqlite_version="4")),
    ("gold", MATCH, single("undecided", gold={"verdict": "undecided", "steps": None})),
    ("code", MATCH, single("mismatch", gold={"digest": "other", "flags": "limit_tie", "steps": 8})),
    ("code", single("match", contract="bird"), single("mismatch", contract="bird", gold={"flags": "order_unstable"})),
    ("budget", OVER, single("mismatch", steps=1001)),  # exact, although the query was ended a few steps later
    ("code", OVER, single("mismatch", steps=1000)),
    ("code", OVER, single("exec_error", steps=None)),
    ("budget", single("over_budget", {}, steps=1400), single("match", {}, steps=1500)),
    ("code", single("over_budget", {}, steps=1400), single("match", {}, steps=1400)),
    ("database + budget", OVER, single("match", steps=2000, db_sha256="e")),
    ("machine", MATCH, TIMED_OUT),
    ("machine", MATCH, single("undecided", error_class="lost")),
    ("machine", MATCH, single("undecided", error="the gold query: met the wall clock")),
    ("machine", OVER, TIMED_OUT),
    ("machine", MATCH, single("undecided", {"memory_mb": 64}, error_class="time")),
    ("limits", MATCH, single("undecided", {"wall_seconds": 1}, error_class="time")),
    ("limits", MATCH, single("undecided", {"memory_mb": 64}, error_class="memory")),
    ("limits", MATCH, single("undecided", {"result_mb": 1}, error_class="size")),
    ("limits", MATCH, single("undecided", {"max_rows": 1}, error="the gold query: more than 1 rows")),
    ("code", MATCH, single("undecided", error_class="size")),
    ("code", MATCH, single("undecided", error_class="text")),
    ("machine", MATCH, single("undecided", error_class="no_such_column")),  # of the candidate, while the gold met a net
    ("budget", OVER, single("undecided", {"budget_floor": 2000}, error_class="time")),
    ("budget", OVER, single("undecided", gold={"steps": 900}, error_class="time")),
    ("unknown", MATCH, single("undecided", {}, error_class="time")),
    ("unknown", OVER, single("undecided", {}, error_class="lost")),
    ("database", MATCH, single("undecided", {}, error_class="time", db_sha256="e")),
    ("code", single("match", {}), single("mismatch", {})),
]


@pytest.mark.parametrize(("reason", "old", "new"), CASES, ids=range(len(CASES)))
def test_a_flip_has_its_reason_whichever_version_is_the_old_one(reason: str, old: Version, new: Version) -> None:
    assert reasons(old, new) == reasons(new, old) == {"c": reason}


@pytest.mark.parametrize("column", ["sqlite_version", "contract", "sql", "db_sha256"])
def test_a_column_that_an_old_version_lacks_makes_the_reason_unknown(column: str) -> None:
    less = version(exec_results=MATCH.tables["exec_results"].read("candidate_id", "verdict", *INPUTS).drop(column))
    old = replace(MATCH, tables={**MATCH.tables, **less.tables})
    assert reasons(old, MISMATCH) == {"c": "unknown"}
    assert reasons(old, single("gold_error", gold={"verdict": "exec_error"})) == {"c": "gold"}


@pytest.mark.parametrize("dataset", ["questions", "gold"])
def test_without_the_golds_a_flip_is_not_blamed_on_the_code(dataset: str) -> None:
    old = replace(MATCH, tables={name: table for name, table in MATCH.tables.items() if name != dataset})
    assert reasons(old, MISMATCH) == {"c": "unknown"}


def test_every_reason_is_met_here_and_is_one_of_the_closed_set() -> None:
    met = [*(names for names, *_ in CASES), *(name.partition(":")[0] for name in CHANGES)]
    assert {reason for names in met for reason in names.split(" + ")} == set(REASONS)


def test_a_safety_net_of_a_version_that_has_it_in_exec_results_is_compared() -> None:
    def older(verdict: str, **nets: int) -> Version:
        params: dict[str, object] = {f"exec_results.{name}": value for name, value in {**EXECUTION, **nets}.items()}
        return replace(single(verdict, error_class="time"), params=params)

    assert reasons(MATCH, older("undecided", wall_seconds=1)) == {"c": "limits"}
    assert reasons(MATCH, older("undecided")) == {"c": "machine"}


def test_flips_of_golds_and_pairs_are_counted() -> None:
    def version_with(verdicts: str, golds: tuple[str, str], pairs: dict[str, tuple[str, str]]) -> Version:
        rows = [{"candidate_id": str(place), "verdict": VERDICT[letter]} for place, letter in enumerate(verdicts)]
        drawn = [{"pair_id": key, "chosen_id": a, "rejected_id": b} for key, (a, b) in pairs.items()]
        return version(
            exec_results=frame("exec_results", *rows), pairs=frame("pairs", *drawn),
            gold=frame("gold", *({"question_id": str(place), "verdict": gold} for place, gold in enumerate(golds))),
        )

    old = version_with("mxxm", ("ok", "ok"), {"a": ("0", "1"), "b": ("3", "2"), "c": ("3", "1")})
    new = version_with("xxxmm", ("ok", "over_budget"), {"c": ("3", "1"), "d": ("3", "0"), "e": ("4", "2")})
    result = flips(old, new)
    assert (result.candidates_in_both, result.flipped, result.removed_pairs, result.added_pairs) == (4, 1, 1, 1)
    assert result.golds == [Change("ok", "over_budget", 1)]
    assert [(flip.old, flip.new, flip.count) for flip in result.verdicts] == [("match", "mismatch", 1)]


VERDICT = {"m": "match", "x": "mismatch"}


def test_versions_without_labels_have_no_flips_and_no_candidate_in_both_is_no_flip() -> None:
    assert flips_of(version(), MATCH) is None and flips_of(MATCH, version()) is None
    other = version(exec_results=keyed("exec_results", "another", verdict="match"))
    assert flips(MATCH, other).candidates_in_both == 0
