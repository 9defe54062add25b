import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import UserError
from stages.databases.paths import check_databases
from stages.datasets.verdicts import ERROR_CLASSES
from stages.execution import sandbox
from stages.execution.comparison import digest
from stages.execution.judge import judge
from stages.execution.records import Budget, GoldQuestion, Rules
from stages.execution.sandbox import Database, Execution, Limits
from stages.execution.worker_pool import local
from tests import FIXTURES
from tests.execution.test_hostile import text_of
from tests.execution.world import CROSS_JOIN, ENDLESS, LIMITS, counting, make_database
from tests.real import REAL

STEPS = REAL.parent / "cases" / "steps-over-31-bits"
WRITES = [
    "INSERT INTO singer VALUES (9, 'Eve', 1, 'Peru')",
    "UPDATE singer SET age = 1",
    "DELETE FROM singer RETURNING name",
    "DROP TABLE singer",
    "CREATE TABLE t (a)",
    "CREATE TEMP TABLE t (a)",
    "ALTER TABLE singer RENAME TO s",
    "WITH x AS (SELECT 1) INSERT INTO singer (age) SELECT * FROM x",
    "ATTACH 'other.sqlite' AS other",
    "DETACH main",
    "VACUUM INTO 'copy.sqlite'",
    "VACUUM",
    "PRAGMA user_version = 3",
    "PRAGMA query_only = 0",
    "PRAGMA table_info(singer)",
    "SELECT * FROM pragma_table_info('singer')",
    "BEGIN",
    "SAVEPOINT a",
    "REINDEX",
    "ANALYZE",
    "SELECT load_extension('evil')",
    "EXPLAIN SELECT 1",
    "EXPLAIN QUERY PLAN SELECT 1",
]

LIMIT_CASES = json.loads((FIXTURES / "sql" / "limits.json").read_text(encoding="utf-8"))
DEEPEST: dict[str, Callable[[int], str]] = {
    "parentheses": lambda depth: f"SELECT {'(' * depth}age{')' * depth} FROM singer",
    "functions": lambda depth: f"SELECT {'abs(' * depth}age{')' * depth} FROM singer",
    "NOT": lambda depth: f"SELECT age FROM singer WHERE {'NOT NOT ' * (depth // 2)}1",
    "minus": lambda depth: f"SELECT {'- - ' * (depth // 2)}age FROM singer",
    "CASE": lambda depth: f"SELECT {'CASE WHEN age = 0 THEN 0 ELSE ' * depth}age{' END' * depth} FROM singer",
    "CAST": lambda depth: f"SELECT {'CAST(' * depth}age{' AS INTEGER)' * depth} FROM singer",
    "FROM": lambda depth: f"SELECT * FROM {'(SELECT * FROM ' * depth}(SELECT age FROM singer){')' * depth}",
}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_database(tmp_path / "databases")


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


def run(database: Database, sql: str, budget: int = 1_000_000, limits: Limits = LIMITS) -> Execution:
    return database.execute(sql, budget, limits)


@pytest.mark.parametrize("sql", WRITES)
def test_what_is_not_reading_is_forbidden_and_leaves_no_trace(sql: str, path: Path, database: Database) -> None:
    files, content = sorted(Path.cwd().rglob("*")), hashlib.sha256(path.read_bytes()).hexdigest()
    execution = run(database, sql)
    assert (execution.status, execution.error_class) == ("exec_error", "forbidden")
    assert sorted(Path.cwd().rglob("*")) == files
    assert hashlib.sha256(path.read_bytes()).hexdigest() == content


@pytest.mark.parametrize("sql", ["", "  \n", ";", "-- nothing", "/* nothing */"])
def test_a_text_without_a_statement_is_no_sql(sql: str, database: Database) -> None:
    assert run(database, sql).status == "no_sql"


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE singer", f"SELECT 1; {ENDLESS}"])
def test_two_statements_are_an_error_and_none_runs(sql: str, database: Database) -> None:
    execution = run(database, sql)
    assert (execution.status, execution.error_class, execution.steps) == ("exec_error", "several_statements", 0)


@pytest.mark.parametrize(
    ("sql", "error_class"),
    [
        ("SELEC 1", "syntax"),
        ("SELECT 'open", "syntax"),
        ("SELECT ?", "syntax"),
        ("SELECT 1\0", "syntax"),
        ("SELECT '\ud800'", "syntax"),
        ("SELECT * FROM absent", "no_such_table"),
        ("SELECT absent FROM singer", "no_such_column"),
        ("SELECT singer_id FROM singer, album", "ambiguous_column"),
        ("SELECT absent(1)", "no_such_function"),
        ("SELECT name FROM singer WHERE count(*) > 1", "aggregate_misuse"),
        ("SELECT abs(1, 2)", "wrong_count"),
        ("SELECT 1 UNION SELECT 1, 2", "wrong_count"),
        ("SELECT 1" + " UNION SELECT 1" * 500, "too_complex"),
        ("SELECT abs(-9223372036854775808)", "other"),
    ],
)
def test_errors_have_their_class(sql: str, error_class: str, database: Database) -> None:
    execution = run(database, sql)
    assert (execution.status, execution.error_class, execution.result) == ("exec_error", error_class, None)
    assert error_class in ERROR_CLASSES and execution.error


@pytest.mark.parametrize("case", LIMIT_CASES, ids=lambda case: case["case"])
def test_the_limits_on_the_form_of_a_query_are_those_of_pythons_sqlite3(
    case: dict[str, Any], path: Path, database: Database
) -> None:
    sql = text_of(case["sql"])
    execution = run(database, sql, budget=100_000_000)
    assert (execution.status == "ok") == case["runs"], execution.error
    with closing(sqlite3.connect(path)) as connection:
        if not case["runs"]:
            assert (execution.status, execution.error_class) == ("exec_error", "too_complex")
            with pytest.raises(sqlite3.OperationalError):
                connection.execute(sql)
        else:
            assert execution.result is not None
            assert Counter(execution.result.rows) == Counter(connection.execute(sql).fetchall())


@pytest.mark.parametrize("text", DEEPEST, ids=list(DEEPEST))
def test_the_deepest_query_of_a_kind_ends_without_killing_its_worker(text: str, path: Path) -> None:
    """Each kind as deep as SQLite lets it be, and beyond, in a worker process."""
    texts = [DEEPEST[text](depth) for depth in (300, 490, 700, 990, 1100, 2490, 20_000)]
    rules = Rules("strict", Budget(10_000_000, 10), LIMITS)
    outcomes = judge([(GoldQuestion(str(path), "SELECT age FROM singer"), sql) for sql in texts], rules, local(1))
    assert {outcome.verdict for outcome in outcomes} <= {"match", "mismatch", "exec_error"}
    assert [outcomes[0].verdict, outcomes[-1].verdict] == ["match", "exec_error"]


def test_an_endless_query_goes_over_its_budget(database: Database) -> None:
    execution = run(database, ENDLESS)
    assert (execution.status, execution.result) == ("over_budget", None)
    assert 1_000_000 < execution.steps < 1_002_000


def test_steps_are_the_same_on_every_run_and_the_budget_is_exact(path: Path) -> None:
    counts = {run(Database(path), counting(1000)).steps for _ in range(3)}
    (steps,) = counts
    assert run(Database(path), counting(1000), budget=steps).status == "ok"
    assert run(Database(path), counting(1000), budget=steps - 1).status == "over_budget"


@pytest.mark.parametrize(
    "sql", [CROSS_JOIN, "SELECT hex(zeroblob(500000000))", "SELECT printf('%.*c', 1000000000, 'x')",
            "SELECT randomblob(1000000000)", "SELECT zeroblob(9000000) FROM singer, album"],
)  # fmt: skip
def test_a_huge_result_is_undecided_not_an_error(sql: str, database: Database) -> None:
    execution = run(database, sql, budget=10**9)
    assert (execution.status, execution.error_class, execution.result) == ("undecided", "size", None)


def test_the_wall_clock_makes_a_query_undecided(database: Database) -> None:
    execution = run(database, ENDLESS, 10**12, replace(LIMITS, wall_seconds=0.05))
    assert (execution.status, execution.error_class) == ("undecided", "time")


def test_reading_stops_when_enough_was_read(database: Database) -> None:
    execution = database.execute(CROSS_JOIN, 10**9, LIMITS, lambda columns, block, count: count > 250)
    assert (execution.status, execution.rows, execution.result) == ("ok", 300, None)


def test_an_empty_result_still_has_columns(database: Database) -> None:
    execution = run(database, "SELECT name, age FROM singer WHERE age > 100;")
    assert execution.result is not None
    assert (execution.result.columns, execution.result.rows) == (2, [])


def test_text_that_is_no_utf8_is_read_byte_by_byte(database: Database) -> None:
    cells = "CAST(x'c3ff41' AS TEXT) AS a, x'ff' AS a, 1.5, NULL, name"
    sql = f"SELECT {cells} FROM singer ORDER BY age DESC, name -- the end"
    execution = run(database, sql)
    assert execution.result is not None and execution.result.columns == 5
    assert [row[4] for row in execution.result.rows] == ["Dan", "Bea", "Cid", "Ada"]
    assert execution.result.rows[0][:4] == ("\udcc3\udcffA", b"\xff", 1.5, None)


def test_different_broken_texts_are_different(database: Database) -> None:
    one, other = (run(database, f"SELECT CAST(x'{hexed}' AS TEXT)").result for hexed in ("41ff", "41fe"))
    assert one is not None and other is not None
    assert one.rows != other.rows and digest(one) != digest(other)


@pytest.mark.parametrize("sql", ["SELECT 7; -- it is", "SELECT 7;\n/* so */", "SELECT 7 ; ; -- x", "-- a\nSELECT 7;;"])
def test_a_comment_after_the_statement_does_no_harm(sql: str, database: Database) -> None:
    execution = run(database, sql)
    assert execution.result is not None and execution.result.rows == [(7,)]


def test_chance_and_the_clock_give_the_same_values_each_time(path: Path) -> None:
    sql = "SELECT random(), hex(randomblob(4)), date('now'), CURRENT_TIMESTAMP FROM singer ORDER BY random()"
    first, again = run(Database(path), sql), run(Database(path), sql)
    assert first.result is not None and first.result == again.result
    assert {row[2:] for row in first.result.rows} == {("2020-01-01", "2020-01-01 00:00:00")}
    assert len({row[0] for row in first.result.rows}) == 4


def test_an_order_that_a_query_does_not_specify_is_reversed(path: Path) -> None:
    other = Database(path, reverse_unspecified_order=True)
    backward = run(other, "SELECT name FROM singer")
    tied = run(other, "SELECT name FROM singer ORDER BY age, tie_breaker()")
    assert backward.result is not None and tied.result is not None
    assert [row[0] for row in backward.result.rows] == ["Dan", "Cid", "Bea", "Ada"]
    assert [row[0] for row in tied.result.rows] == ["Ada", "Cid", "Bea", "Dan"]


def test_a_locked_database_is_read(path: Path) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert check_databases(["music"], path.parents[1]) == {"music": path}
    assert run(Database(path), "SELECT count(*) FROM singer").status == "ok"
    holder.close()


def test_all_missing_and_broken_databases_are_named_at_once_and_none_is_made(tmp_path: Path) -> None:
    make_database(tmp_path)
    for db_id, content in (("text", b"not a database at all, but long enough " * 30), ("void", b"")):
        (tmp_path / db_id).mkdir()
        (tmp_path / db_id / f"{db_id}.sqlite").write_bytes(content)
    with pytest.raises(UserError) as caught:
        check_databases(["void", "text", "gone", "music", "gone"], tmp_path)
    assert [Path(sentence.split()[0]).stem for sentence in caught.value.sentences] == ["gone", "text", "void"]
    assert not (tmp_path / "gone").exists()


def test_a_path_with_signs_of_an_address_is_opened(tmp_path: Path) -> None:
    path = make_database(tmp_path / "a?b#c%20 d&mode=rwc")
    assert run(Database(path), "SELECT 1 FROM singer").rows == 4


@pytest.mark.parametrize("begins_again", [2**11, 2**13, 2**16])
def test_steps_are_counted_on_where_the_counter_of_sqlite_begins_again(
    begins_again: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = [counting(steps) for steps in (1, 100, 5_000, 20_001)] + ["SELECT * FROM singer a, singer b, singer c"]
    expected = [run(database, sql) for sql in queries]
    monkeypatch.setattr(sandbox, "_COUNTER", begins_again)
    assert [run(database, sql) for sql in queries] == expected
    assert max(execution.steps for execution in expected) > 4 * begins_again


@pytest.mark.slow
@pytest.mark.realdata
def test_a_query_of_more_steps_than_31_bits_hold_is_over_its_budget_by_the_number_it_took() -> None:
    gold, prediction = (json.loads((STEPS / name).read_text()) for name in ("gold.json", "predictions.json"))
    database = Database(REAL / "spider" / "database" / "car_1" / "car_1.sqlite")
    steps = run(database, gold[0]["query"], 100_000_000).steps
    execution = run(database, prediction[0], 50 * steps, replace(LIMITS, wall_seconds=600))
    assert (execution.status, execution.steps) == ("over_budget", 2_671_841_000)
