"""Databases of every kind get findings, and nothing crashes or hangs."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.mutation import real_rows
from stages.mutation.changes import make_mutant
from stages.mutation.findings import Question
from stages.mutation.image import image_of
from stages.mutation.real_rows import MOST_ROWS, read_real_rows
from stages.mutation.rules import mine
from stages.mutation.search import Searcher
from tests import FIXTURES
from tests.execution.world import ENDLESS
from tests.mutation.world import (
    again,
    broken_by_sqlite,
    broken_rules,
    kinds,
    opened,
    search,
    settings_of,
    write_database,
)

CASES: dict[str, dict[str, Any]] = json.loads((FIXTURES / "mutation/odd_databases.json").read_text(encoding="utf-8"))
"""Statements that make a database, a gold, and its candidates by what becomes of them."""
BROKEN_BY_REAL_ROWS = (
    "foreign keys that the real data break", "a foreign key to a missing table",
    "a foreign key to columns that are no key",
)  # fmt: skip
UNKNOWN_FUNCTIONS = (
    "a CHECK that calls functions of an application", "a generated column with a function of an application",
)  # fmt: skip


def database_of(folder: Path, name: str) -> Path:
    return write_database(folder, ";".join(CASES[name]["script"]), CASES[name].get("encoding", "UTF-8"))


@pytest.mark.parametrize("name", CASES)
def test_candidates_are_parted_or_survive_and_the_gold_itself_survives(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    parted, survive, untested = (case.get(key, []) for key in ("parted", "survive", "untested"))
    findings = search(database_of(tmp_path, name), case["gold"], *parted, *survive, *untested, again(case["gold"]))
    expected = ["parted"] * len(parted) + ["survived"] * len(survive) + ["untested"] * len(untested)
    actual = ["parted" if kind in ("rows", "duplicates", "order") else kind for kind in kinds(findings)]
    assert actual == [*expected, "untested" if untested else "survived"]
    assert not findings.nondeterministic


@pytest.mark.parametrize("name", [name for name in CASES if name not in (*BROKEN_BY_REAL_ROWS, *UNKNOWN_FUNCTIONS)])
def test_mutants_keep_what_sqlite_and_the_mined_rules_ask(tmp_path: Path, name: str) -> None:
    database = read_real_rows(database_of(tmp_path, name))
    rules = mine(database)
    for number in range(30):
        mutant = make_mutant(database, rules, {}, 1, number, aimed=False)
        with opened(image_of(database, mutant)) as connection:
            assert broken_by_sqlite(connection) == []
            assert broken_rules(database, rules, connection) == []


def test_of_a_large_table_a_part_is_read_from_all_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_database(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t SELECT l.x * 1000 + r.x, l.x FROM n l, n r;"
        "INSERT INTO t SELECT id + 400000, a FROM t; INSERT INTO t SELECT id + 800000, a FROM t WHERE id <= 40000",
    )
    rows_read = []
    read = real_rows._read

    def counted(*arguments: Any) -> list[tuple[Any, ...]]:
        rows = read(*arguments)
        rows_read.append(len(rows))
        return rows

    monkeypatch.setattr(real_rows, "_read", counted)
    (table,) = read_real_rows(path).tables
    assert sum(rows_read) <= MOST_ROWS and len(table.rows) > MOST_ROWS / 4 and not table.whole
    ids = [row[0] for row in table.rows if isinstance(row[0], int)]
    assert min(ids) == 1001 and max(ids) > 800_000


@pytest.mark.parametrize("options", ["", " WITHOUT ROWID"])
def test_a_large_table_with_text_that_is_not_utf8_is_not_taken_for_a_whole_one(tmp_path: Path, options: str) -> None:
    path = write_database(
        tmp_path,
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT){options};"
        "INSERT INTO t SELECT l.x * 1000 + r.x, 'a' FROM n l, n r;"
        "UPDATE t SET a = CAST(x'ff' AS TEXT) WHERE id <= 1020",
    )
    (table,) = read_real_rows(path).tables
    assert not table.whole and 1000 < len(table.rows) <= MOST_ROWS


def test_a_row_of_a_table_with_columns_named_as_rowids_points_at_a_parent(tmp_path: Path) -> None:
    """Rows that are refused, as an index of an expression says, leave others that point at them."""
    path = write_database(
        tmp_path,
        "CREATE TABLE p (id INTEGER PRIMARY KEY, a INT, b INT); INSERT INTO p SELECT x, x % 9, x / 9 FROM n;"
        "CREATE UNIQUE INDEX sums ON p (a * 100 + b); CREATE TABLE t (rowid TEXT, oid TEXT, _rowid_ INT REFERENCES p);"
        "INSERT INTO t SELECT 'r' || x, 'o', x FROM n",
    )
    database = read_real_rows(path)
    rules = mine(database)
    for number in range(60):
        with opened(image_of(database, make_mutant(database, rules, {}, 1, number, aimed=False))) as connection:
            assert broken_by_sqlite(connection) == []


HOSTILE = [
    ENDLESS, "SELECT zeroblob(500000000)", "ATTACH 'stolen.sqlite' AS s", "SELECT load_extension('x')",
    "PRAGMA journal_mode = wal", "DELETE FROM t", "SELECT id FROM t; DROP TABLE t", "VACUUM INTO 'copy.sqlite'",
    "SELECT " + "(" * 5000, "'", "SELECT " + "-" * 100_000 + "1", "\x00", "SELECT x'" + "0" * 200_000,
    "SELECT * FROM t a, t b, t c, t d, t e, t f", "",
]  # fmt: skip


def test_hostile_candidates_are_untested_and_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_database(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t SELECT x, x FROM n")
    content = path.read_bytes()
    findings = search(path, "SELECT id FROM t WHERE a > 4", *HOSTILE, "SELECT id FROM t WHERE a > 5", mutants=2)
    assert kinds(findings) == ["untested"] * (len(HOSTILE)) + ["rows"]
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


PAGE = b"\xff" * 8192


@pytest.mark.parametrize("content", [b"", b"no database at all " * 200, PAGE])
def test_a_damaged_file_leaves_its_questions_untested_and_others_not(tmp_path: Path, content: bytes) -> None:
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t SELECT x, x % 9 FROM n"
    path, sound = write_database(tmp_path, script), write_database(tmp_path, script)
    path.write_bytes(path.read_bytes()[:4096] + content if content == PAGE else content)
    gold, candidate = "SELECT id FROM t WHERE a > 4", "SELECT id FROM t WHERE a > 3"
    searcher = Searcher(settings_of())
    findings = searcher(Question(str(path), gold, (candidate,)))
    assert kinds(findings) == ["untested"] and findings.problem
    assert kinds(searcher(Question(str(sound), gold, (candidate,)))) == ["rows"]


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    findings = search(tmp_path / "gone.sqlite", "SELECT 1", "SELECT 2 - 1")
    assert kinds(findings) == ["untested"] and not list(tmp_path.iterdir())
