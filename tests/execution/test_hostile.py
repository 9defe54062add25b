"""Queries and database files made to break the sandbox: none leaves a trace, and each gets its status."""

import gc
import json
import multiprocessing
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import pytest

from stages.core.errors import UserError
from stages.databases.paths import database_problem
from stages.datasets.verdicts import Verdict
from stages.execution import judge as judge_module
from stages.execution.comparison import Contract
from stages.execution.judge import judge
from stages.execution.records import Budget, GoldQuestion, Rules
from stages.execution.sandbox import Database, Execution
from stages.execution.worker_pool import local
from tests import FIXTURES
from tests.execution.world import LIMITS, make_database

FOLDER = FIXTURES / "sql"
CASES: dict[str, list[Any]] = json.loads((FOLDER / "hostile.json").read_text(encoding="utf-8"))
STEPS = 2_000_000
MAGIC = b"SQLite format 3\0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the database, whose schema is hostile too, and is where the tests of this file run."""
    folder = tmp_path_factory.mktemp("hostile")
    connection = apsw.Connection(str(make_database(folder)))
    connection.execute((FOLDER / "hostile_schema.sql").read_text(encoding="utf-8"))
    connection.close()
    return folder


@pytest.fixture
def path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(folder)
    before = everything_in(folder)
    yield folder / "music" / "music.sqlite"
    assert everything_in(folder) == before


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


def everything_in(folder: Path) -> dict[Path, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: sha256(path.read_bytes()).hexdigest() for path in files}


def text_of(sql: str | list[Any]) -> str:
    """The SQL of a case: a text, or pieces, of which some are [piece, how often]."""
    pieces = [sql] if isinstance(sql, str) else sql
    return "".join(piece if isinstance(piece, str) else piece[0] * piece[1] for piece in pieces)


def cell_of(cell: Any) -> Any:
    if not isinstance(cell, dict):
        return cell
    return bytes.fromhex(cell["blob"]) if "blob" in cell else float(cell["float"])


def name_of(case: Any) -> str:
    return case["case"] if isinstance(case, dict) else text_of(case)[:60]


def run(database: Database, sql: str | list[Any]) -> Execution:
    return database.execute(text_of(sql), STEPS, LIMITS)


def verdict_of(path: Path, sql: str, gold: str, contract: Contract = "strict") -> Verdict:
    rules = Rules(contract, Budget(floor=STEPS, factor=10, gold=STEPS), LIMITS)
    return judge([(GoldQuestion(str(path), gold), sql)], rules, local(1))[0].verdict


@pytest.mark.parametrize("case", CASES["values"], ids=name_of)
def test_a_value_comes_back_as_sqlite_means_it(case: dict[str, Any], database: Database) -> None:
    execution = run(database, case["sql"])
    expected = [tuple(cell_of(cell) for cell in row) for row in case["rows"]]
    assert execution.result is not None, execution.error
    assert execution.result.columns == case["columns"]
    assert repr(execution.result.rows) == repr(expected)  # 1 is not 1.0, -0.0 is not 0.0


@pytest.mark.parametrize("sql", CASES["refused"], ids=name_of)
def test_what_is_not_reading_is_refused(sql: str, database: Database) -> None:
    execution = run(database, sql)
    assert (execution.status, execution.error_class, execution.rows) == ("exec_error", "forbidden", 0)


@pytest.mark.parametrize("case", CASES["errors"], ids=name_of)
def test_what_cannot_run_is_an_error_of_its_class(case: dict[str, Any], database: Database) -> None:
    execution = run(database, case["sql"])
    assert (execution.status, execution.result) == ("exec_error", None)
    assert case["error_class"] in (None, execution.error_class), execution.error


@pytest.mark.parametrize("case", CASES["nets"], ids=name_of)
def test_what_a_net_catches_is_undecided(case: dict[str, Any], database: Database) -> None:
    execution = run(database, case["sql"])
    assert (execution.status, execution.error_class, execution.result) == ("undecided", case["error_class"], None)


@pytest.mark.parametrize("case", CASES["over_budget"], ids=name_of)
def test_what_does_not_end_goes_over_its_budget(case: dict[str, Any], database: Database) -> None:
    execution = run(database, case["sql"])
    assert (execution.status, execution.result) == ("over_budget", None)
    assert STEPS < execution.steps < STEPS + 2_000


@pytest.mark.parametrize("case", CASES["no_sql"], ids=name_of)
def test_a_text_without_a_statement_is_no_sql(case: dict[str, Any], database: Database) -> None:
    assert run(database, case["sql"]).status == "no_sql"


def test_the_database_works_on_after_every_hostile_query(database: Database) -> None:
    for sql in [*CASES["refused"], *(case["sql"] for part in ("errors", "nets", "no_sql") for case in CASES[part])]:
        run(database, sql)
        after = run(database, "SELECT count(*), max(name) FROM singer")
        assert after.result is not None and after.result.rows == [(4, "Dan")]


@pytest.mark.parametrize(
    ("sql", "gold", "verdict"),
    [
        ("SELECT 9e999", "SELECT 1e999", "match"),
        ("SELECT 9e999", "SELECT 1.7976931348623157e308", "mismatch"),
        ("SELECT 9e999", "SELECT -9e999", "mismatch"),
        ("SELECT 9e999 - 9e999", "SELECT NULL", "match"),
        ("SELECT 9223372036854775807", "SELECT 9223372036854775808", "mismatch"),
        ("SELECT 9223372036854775807 + 1", "SELECT 9223372036854775808.0", "match"),
        ("SELECT 'a' || char(0) || 'b'", "SELECT 'a'", "mismatch"),
        ("SELECT x'41'", "SELECT 'A'", "mismatch"),
        ("SELECT x''", "SELECT NULL", "mismatch"),
        ("SELECT name AS a, name AS a FROM singer", "SELECT name, name FROM singer", "match"),
        ("SELECT name FROM singer WHERE 0", "SELECT title FROM album WHERE 0", "match"),
        ("SELECT name FROM singer WHERE 0", "SELECT name, age FROM singer WHERE 0", "mismatch"),
        ("SELECT CAST(x'ff' AS TEXT)", "SELECT 'a'", "mismatch"),
        ("SELECT CAST(x'ff' AS TEXT)", "SELECT CAST(x'ff' AS TEXT)", "match"),
        ("SELECT 'a'", "SELECT CAST(x'ff' AS TEXT)", "mismatch"),
        ("SELECT zeroblob(10000001)", "SELECT zeroblob(10000001)", "undecided"),
        ("SELECT sum(9223372036854775807) FROM singer", "SELECT sum(9223372036854775807) FROM singer", "gold_error"),
        ("SELECT * FROM words", "SELECT 'hello world'", "exec_error"),
        ("SELECT * FROM broken", "SELECT * FROM broken", "gold_error"),
        ("DELETE FROM singer", "DELETE FROM singer", "gold_error"),
        ("", "SELECT 1", "no_sql"),
        ("SELECT 1", "", "gold_error"),
    ],
)
def test_odd_values_are_judged_for_what_they_are(sql: str, gold: str, verdict: Verdict, path: Path) -> None:
    assert verdict_of(path, sql, gold) == verdict


def test_a_result_cut_by_its_own_limit_is_compared_as_it_is(path: Path) -> None:
    everything = "SELECT a.name, b.name FROM singer a, singer b"
    assert verdict_of(path, f"{everything} LIMIT 5", everything) == "mismatch"
    assert verdict_of(path, everything, f"{everything} LIMIT 5") == "mismatch"


def test_a_query_that_holds_another_is_judged_for_itself(path: Path, tmp_path: Path) -> None:
    other = make_database(tmp_path / "music", "music_2")
    connection = sqlite3.connect(other)
    with connection:
        connection.execute("DELETE FROM singer WHERE age < 50")
    connection.close()
    texts = ["SELECT name FROM singer", "SELECT name FROM singer LIMIT 1", "SELECT name FROM singer LIMIT 10"]
    items = [(GoldQuestion(str(file), gold), sql) for file in (path, other) for gold in texts for sql in texts]
    rules = Rules("strict", Budget(STEPS, 10, STEPS), LIMITS)
    verdicts = [outcome.verdict == "match" for outcome in judge(items, rules, local(2))]
    assert verdicts[:9] == [True, False, True, False, True, False, True, False, True]
    assert verdicts[9:] == [True] * 9


# To its end, it takes hours.
def test_a_query_that_no_limit_stops_is_killed_and_burns_no_core(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "HANG_GRACE_SECONDS", 0.2)
    long = "replace(hex(zeroblob(4000000)), '0', 'a')"
    stuck = f"SELECT instr({long}, substr({long}, 1, 4000000) || 'b')"
    rules = Rules("strict", Budget(STEPS, 10, STEPS), replace(LIMITS, wall_seconds=0.2))
    outcome = judge([(GoldQuestion(str(path), "SELECT 1"), stuck)], rules, local(2))[0]
    assert (outcome.verdict, outcome.error_class) == ("undecided", "lost")
    assert multiprocessing.active_children() == []


def test_a_memory_bomb_is_undecided_and_the_queries_after_it_are_judged(path: Path) -> None:
    bomb = "SELECT min(y) FROM (SELECT zeroblob(9000000) AS z, a.age AS y FROM singer a, singer b ORDER BY z LIMIT -1)"
    rules = Rules("strict", Budget(STEPS, 10, STEPS), replace(LIMITS, memory_mb=64))
    question = GoldQuestion(str(path), "SELECT count(*) FROM singer")
    items = [(question, sql) for sql in (bomb, "SELECT 4", f"{bomb} -- again", "SELECT 5")]
    outcomes = [(outcome.verdict, outcome.error_class) for outcome in judge(items, rules, local(1))]
    assert outcomes == [("undecided", "memory"), ("match", None), ("undecided", "memory"), ("mismatch", None)]


def test_a_nan_in_the_file_is_null(tmp_path: Path) -> None:
    path = tmp_path / "nan.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t (x REAL); INSERT INTO t VALUES (1234.5678)")
    connection.close()
    content = path.read_bytes()
    value, nan = struct.pack(">d", 1234.5678), bytes.fromhex("7ff8000000000001")
    assert content.count(value) == 1
    path.write_bytes(content.replace(value, nan))
    result = run(Database(path), "SELECT x, typeof(x) FROM t").result
    assert result is not None and result.rows == [(None, "null")]


@pytest.mark.parametrize(("encoding", "half"), [("UTF-16le", "00d8"), ("UTF-16be", "d800")])
def test_a_database_in_utf_16_reads_as_one_in_utf_8(encoding: str, half: str, tmp_path: Path) -> None:
    path = tmp_path / "wide.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(f"""PRAGMA encoding = '{encoding}'; CREATE TABLE t (a TEXT);
        INSERT INTO t VALUES ('héllo 😀'), (''), (CAST(x'{half}' AS TEXT));""")
    connection.close()
    database = Database(path)
    result = run(database, "SELECT a FROM t WHERE rowid < 3 AND a || 'é' LIKE '%é'").result
    assert result is not None and result.rows == [("héllo 😀",), ("",)]
    assert run(database, "SELECT a FROM t").error_class == "text"  # half a character


def test_a_missing_database_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(apsw.CantOpenError):
        Database(tmp_path / "absent.sqlite")
    with pytest.raises(apsw.CantOpenError):
        Database(tmp_path / "no" / "such" / "folder.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_a_database_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(apsw.Error):
        Database(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_database_that_may_not_be_read_is_an_error(path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(path, tmp_path))
    copy.chmod(0)
    with pytest.raises(apsw.Error):
        Database(copy)


def test_a_database_is_read_from_a_folder_that_nobody_may_write_to(path: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    copy = Path(shutil.copy(path, tmp_path / "closed"))
    copy.chmod(0o444)
    copy.parent.chmod(0o555)
    try:
        assert run(Database(copy), "SELECT name FROM singer ORDER BY age").rows == 4
    finally:
        copy.parent.chmod(0o755)


@pytest.mark.parametrize("content", [b"not a database " * 100, MAGIC, MAGIC + b"\xff" * 4080])
def test_a_file_that_is_no_database_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    path.write_bytes(content)
    with pytest.raises(apsw.Error):
        Database(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_truncated_database_is_never_a_result(share: float, path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    cut = tmp_path / "cut.sqlite"
    cut.write_bytes(content[: int(len(content) * share)])
    with suppress(apsw.CorruptError, apsw.NotADBError):  # it is not even opened
        assert run(Database(cut), "SELECT * FROM boxes_node").error_class == "file"


@pytest.mark.parametrize("missing", [1, 3000])
def test_a_database_that_is_cut_off_within_a_page_is_none(missing: int, tmp_path: Path) -> None:
    path = make_database(tmp_path)
    content = path.read_bytes()
    assert database_problem(path) is None
    path.write_bytes(content[:-missing])  # SQLite reads zeros in place of the rest of a page
    told = f"it is cut off: it has {len(content) - missing:,} of {len(content):,} bytes"
    assert database_problem(path) == f"{path} is not an SQLite database ({told}); replace it"


def test_a_database_with_a_broken_page_is_undecided(tmp_path: Path) -> None:
    path = make_database(tmp_path)
    content = bytearray(path.read_bytes())
    content[-2 * 4096 : -4096] = b"\xff" * 4096
    path.write_bytes(content)
    statuses = {run(Database(path), f"SELECT * FROM {table}").error_class for table in ("singer", "album")}
    assert statuses == {None, "file"}


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_that_another_process_writes_is_refused_and_left_alone(mode: str, tmp_path: Path) -> None:
    path = make_database(tmp_path)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute(f"PRAGMA journal_mode = {mode}")
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE singer SET name = hex(zeroblob(20000))")  # more than the cache holds: it is on the disk
    before = everything_in(tmp_path)
    assert any(file.name.endswith(("-wal", "-journal")) for file in before)
    with pytest.raises(UserError, match=r"music.sqlite-(wal|journal) holds changes that music.sqlite lacks; open the"):
        Database(path)
    assert everything_in(tmp_path) == before
    writer.close()


@pytest.mark.parametrize("mode", ["wal", "truncate", "persist"])
def test_a_log_that_sqlite_has_finished_with_is_no_reason_to_refuse(mode: str, tmp_path: Path) -> None:
    path = make_database(tmp_path)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute(f"PRAGMA journal_mode = {mode}")
    writer.execute("DELETE FROM singer")
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert len(everything_in(tmp_path)) > 1
    assert run(Database(path), "SELECT * FROM singer").rows == 0
    writer.close()


def test_a_hot_journal_is_neither_played_back_nor_removed(tmp_path: Path) -> None:
    path = make_database(tmp_path / "one")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE singer SET name = hex(zeroblob(20000))")
    crashed = shutil.copytree(path.parent, tmp_path / "two")  # as a power cut leaves it: a journal that nobody holds
    writer.close()
    before = everything_in(crashed)
    assert len(before) == 2
    with pytest.raises(UserError, match=r"music\.sqlite-journal holds changes"):
        Database(crashed / path.name)
    assert everything_in(crashed) == before


def test_a_broken_database_leaves_no_file_open(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(MAGIC + b"\xff" * 4080)
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(apsw.Error):
            Database(broken)
    gc.collect()
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_link_to_a_database_is_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    assert run(Database(link), "SELECT 1 FROM singer").rows == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["link.sqlite"]


def test_a_folder_that_is_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(path.parent)
    assert run(Database(tmp_path / "linked" / path.name), "SELECT 1 FROM singer").rows == 4
