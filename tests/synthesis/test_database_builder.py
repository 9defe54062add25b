from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.databases.paths import database_path
from stages.execution.worker_pool import local
from stages.synthesis import database_builder
from stages.synthesis.answers import DatabaseDraft
from stages.synthesis.database_builder import MAX_COLUMNS, MAX_ROWS, MAX_TABLES, build, build_all
from stages.synthesis.items import open_database
from tests import FIXTURES
from tests.synthesis.world import ALBUMS, LIMITS, SINGERS, draft

CASES: dict[str, dict[str, Any]] = YAML(typ="safe").load(
    (FIXTURES / "synthesis/databases.yaml").read_text(encoding="utf-8")
)
ENDLESS = "a INT CHECK (" + " + ".join(["instr(hex(zeroblob(499999)), hex(zeroblob(250000)) || '1')"] * 50) + " < a)"
"""A column whose CHECK takes minutes within a few steps of SQLite, so that the budget of steps does not end it."""


def table(name: str = "t", columns: str = "a", rows: Any = ((1,),)) -> dict[str, Any]:
    return {"name": name, "create": f"CREATE TABLE {name} ({columns})", "rows": [list(row) for row in rows]}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "ddl" in case])
def test_a_usable_database_is_built(tmp_path: Path, name: str) -> None:
    built = build(draft(*CASES[name]["tables"]))
    assert built.database and not built.reason
    file = database_path(tmp_path, "strong_t_0001")
    file.parent.mkdir()
    file.write_bytes(built.database)
    assert CASES[name]["ddl"] in open_database("strong_t_0001", "t", file).ddl


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "reason" in case])
def test_a_database_that_cannot_be_used_has_its_reason_and_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    built = build(draft(*CASES[name]["tables"]))
    assert built.database is None
    assert built.reason == CASES[name]["reason"] and CASES[name]["message"] in built.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ([table(f"t{number}") for number in range(MAX_TABLES)], ""),
        ([table(f"t{number}") for number in range(MAX_TABLES + 1)], "too_many_tables"),
        ([table(f"t{number}") for number in range(200)], "too_many_tables"),
        ([table(columns=", ".join(f"c{at}" for at in range(MAX_COLUMNS)), rows=[range(MAX_COLUMNS)])], ""),
        ([table(columns=", ".join(f"c{at}" for at in range(MAX_COLUMNS + 1)), rows=[range(101)])], "schema_error"),
        ([table(rows=[[1]] * MAX_ROWS)], ""),
        ([table("t", rows=[[1]] * MAX_ROWS), table("u")], "too_many_rows"),
    ],
)  # fmt: skip
def test_sizes_are_bounded(tables: list[dict[str, Any]], reason: str) -> None:
    assert build(draft(*tables)).reason == reason


def test_a_million_rows_are_refused_before_any_is_stored() -> None:
    rows = DatabaseDraft.model_validate({"tables": [table()]}).tables[0].model_copy(update={"rows": [[1]] * 10**6})
    built = build(DatabaseDraft.model_construct(tables=[rows]))
    assert (built.reason, built.message) == ("too_many_rows", "it has 1,000,000 rows; give at most 10,000")


def test_the_same_draft_gives_the_same_bytes() -> None:
    assert build(draft(SINGERS, ALBUMS)) == build(draft(SINGERS, ALBUMS))


def test_a_check_of_many_steps_meets_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_builder, "STEP_BUDGET", 20_000)
    sums = " + ".join(["abs(a)"] * 400)
    built = build(draft(table(columns=f"a INT CHECK ({sums} > 0)", rows=[[1]] * 200)))
    assert (built.reason, built.message) == ("database_budget", "building it takes more than 20,000 steps")


def test_a_check_that_runs_for_ever_costs_its_database_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_builder, "_STALL_SECONDS", 1.0)
    drafts = [draft(SINGERS), draft(table(columns=ENDLESS)), draft(ALBUMS, SINGERS)]
    first, second, third = build_all(drafts, LIMITS, local(1))
    assert first.database and third.database
    assert (second.reason, second.message) == ("undecided", "building the database took its process down")


def test_workers_give_what_this_process_gives() -> None:
    drafts = [draft(*case["tables"]) for case in CASES.values()]
    assert build_all(drafts, LIMITS, local(2)) == [build(each) for each in drafts]
