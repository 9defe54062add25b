import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from stages.cache.result_cache import Cache
from stages.datasets.verdicts import VERDICTS
from stages.execution import judge as judge_module
from stages.execution.comparison import Contract
from stages.execution.judge import ROOMS, judge
from stages.execution.records import DIGEST_ROWS, Budget, GoldQuestion, Item, Outcome, Rules
from stages.execution.sandbox import Database, Execution, Limits
from stages.execution.worker import Worker
from stages.execution.worker_pool import local
from tests.execution.world import CROSS_JOIN, ENDLESS, LIMITS, counting, make_database
from tests.test_pipeline import imports

RULES = Rules("strict", Budget(floor=1_000_000, factor=10, gold=1_000_000), LIMITS, DIGEST_ROWS)
STUCK = "SELECT instr(h, substr(h, 1, 4000000) || 'b') FROM (SELECT replace(hex(zeroblob(4000000)), '0', 'a') AS h)"
NAMES = "SELECT name FROM singer"


@pytest.fixture
def music(tmp_path: Path) -> str:
    return str(make_database(tmp_path))


def outcome_of(
    music: str, sql: str, gold: str = NAMES, contract: Contract = "strict", limits: Limits = LIMITS,
    verdict: str | None = "ok", flags: str = "",
) -> Outcome:  # fmt: skip
    question = GoldQuestion(music, gold, verdict, 100, flags)
    return judge([(question, sql)], replace(RULES, contract=contract, limits=limits), local(1))[0]


def test_each_candidate_gets_its_verdict(music: str) -> None:
    question = GoldQuestion(music, NAMES, "ok", 100, "")
    expected = {
        "SELECT name FROM singer ORDER BY age": "match",
        "SELECT s.name FROM singer AS s;": "match",
        "SELECT title FROM album": "mismatch",
        "SELECT name, age FROM singer": "mismatch",
        "SELECT absent FROM singer": "exec_error",
        "SELECT 1; SELECT 2": "exec_error",
        "DROP TABLE singer": "exec_error",
        "ATTACH 'x' AS x": "exec_error",
        "PRAGMA user_version": "exec_error",
        "SELECT load_extension('x')": "exec_error",
        "": "no_sql",
        "-- I do not know": "no_sql",
        ENDLESS: "over_budget",
        CROSS_JOIN: "mismatch",
        "SELECT hex(zeroblob(500000000))": "undecided",
        "SELECT printf('%.*c', 1000000000, 'x')": "undecided",
    }
    outcomes = judge([(question, sql) for sql in expected], RULES, local(2))
    assert [outcome.verdict for outcome in outcomes] == list(expected.values())
    assert set(expected.values()) < set(VERDICTS)
    for outcome in outcomes:
        assert (outcome.error is None) == (outcome.verdict in ("match", "mismatch"))
        assert (outcome.error_class is None) == (outcome.verdict not in ("exec_error", "undecided"))
    assert [path.name for path in Path(music).parent.iterdir()] == ["music.sqlite"]


@pytest.mark.parametrize("verdict", ["exec_error", "over_budget"])
@pytest.mark.parametrize("sql", ["SELECT absent", ENDLESS, "", NAMES])
def test_nothing_matches_a_gold_that_fails_not_even_the_same_text(music: str, verdict: str, sql: str) -> None:
    outcome = outcome_of(music, sql, gold=sql, verdict=verdict)
    assert set(outcome.verdicts) == {outcome.verdict} == {"gold_error"}


def test_nothing_is_decided_by_an_undecided_gold(music: str) -> None:
    assert outcome_of(music, NAMES, verdict="undecided").verdict == "undecided"


@pytest.mark.parametrize("sql", ["SELECT absent FROM singer", "SELECT 1; SELECT 1", ENDLESS])
def test_two_equal_failures_do_not_match(music: str, sql: str) -> None:
    outcome = outcome_of(music, sql, gold=sql)  # the gold dataset says ok, yet it fails here
    assert outcome.verdict == "gold_error"


def test_two_time_outs_do_not_match(music: str) -> None:
    limits = replace(LIMITS, wall_seconds=0.1)
    question = GoldQuestion(music, ENDLESS, "ok", 10**12, "")
    outcome = judge([(question, ENDLESS)], replace(RULES, limits=limits), local(1))[0]
    assert (outcome.verdict, outcome.error_class) == ("undecided", "time")


def test_a_query_that_hangs_inside_sqlite_is_undecided_and_the_run_goes_on(
    music: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_module, "HANG_GRACE_SECONDS", 0.5)
    question = GoldQuestion(music, NAMES, "ok", 100, "")
    limits = replace(LIMITS, wall_seconds=0.5)
    outcomes = judge([(question, STUCK), (question, NAMES)], replace(RULES, limits=limits), local(1))
    assert [(outcome.verdict, outcome.error_class) for outcome in outcomes] == [("undecided", "lost"), ("match", None)]


def test_a_query_that_needs_more_memory_than_it_may_is_undecided(music: str) -> None:
    sql = f"SELECT zeroblob(1000000) AS z FROM ({counting(500).replace('count(*)', 'x')}) ORDER BY z, x"
    outcome = outcome_of(music, sql, limits=replace(LIMITS, memory_mb=64))
    assert (outcome.verdict, outcome.error_class) == ("undecided", "memory")


def test_contracts_part_where_their_rules_do(music: str) -> None:
    golds = {
        "SELECT country FROM singer": ("SELECT DISTINCT country FROM singer", "match", "match", "mismatch"),
        "SELECT name, age FROM singer": ("SELECT age, name FROM singer", "match", "mismatch", "match"),
        "SELECT name FROM singer ORDER BY age DESC, name": (NAMES, "mismatch", "match", "mismatch"),
        "SELECT name FROM singer WHERE age IN (SELECT age FROM singer ORDER BY age)": (
            "SELECT name FROM singer ORDER BY name DESC", "mismatch", "match", "match",
        ),
    }  # fmt: skip
    for gold, (sql, *expected) in golds.items():
        assert list(outcome_of(music, sql, gold).verdicts) == expected


def test_an_unstable_order_does_not_count_in_strict(music: str) -> None:
    gold, sql = "SELECT name FROM singer ORDER BY age", "SELECT name FROM singer ORDER BY age, name DESC"
    for verdict in ("ok", None):
        assert outcome_of(music, sql, gold, verdict=verdict).verdict == "mismatch"
        assert outcome_of(music, sql, gold, verdict=verdict, flags="order_unstable").verdict == "match"


def test_the_row_tells_of_the_text_that_its_contract_ran(music: str) -> None:
    sql = "SELECT DISTINCT country FROM singer"
    strict, spider = (outcome_of(music, sql, contract=contract) for contract in ("strict", "spider"))
    assert (strict.rows, spider.rows) == (3, 4)


def test_a_result_of_too_many_rows_is_a_mismatch_also_past_the_budget(music: str) -> None:
    sql = "SELECT a.name FROM singer a" + "".join(f", singer b{number}" for number in range(12))
    outcome = outcome_of(music, sql, limits=replace(LIMITS, max_rows=10**7))
    assert outcome.verdicts == ("mismatch", "over_budget", "mismatch")  # the set of its rows may be the gold's
    assert (outcome.error, outcome.digest) == (None, None)


EARLY = {
    "another number of columns": f"SELECT name, ({ENDLESS}) FROM singer",
    "one row more": f"SELECT name FROM singer UNION ALL SELECT 'Ada' UNION ALL SELECT * FROM ({ENDLESS})",
    "a row that the gold has not": f"SELECT 'Eve' UNION ALL SELECT * FROM ({ENDLESS})",
}


@pytest.mark.parametrize("sql", EARLY.values(), ids=EARLY)
def test_a_query_that_was_wrong_before_it_failed_is_a_mismatch(music: str, sql: str) -> None:
    assert outcome_of(music, sql).verdict == "mismatch"


LONG_TEXTS = {
    "a string": f"SELECT '{'a' * 1_000_000}'",
    "letters of two bytes": f"SELECT '{'é' * 500_000}'",
    "thirty megabytes": "SELECT 1" + " " * 15_000_000 + "," * 15_000_000,
    "comments": "SELECT 1 " + "/**/" * 300_000 + "x",
}


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_a_text_that_is_too_large_is_undecided_under_every_contract(music: str, name: str) -> None:
    outcome = outcome_of(music, LONG_TEXTS[name], gold="SELECT 1")
    assert (set(outcome.verdicts), outcome.error_class, outcome.steps) == ({"undecided"}, "size", 0)


def test_what_sqlite_refuses_at_once_is_an_error_however_many_tokens_it_has(music: str) -> None:
    outcome = outcome_of(music, "SELECT 1" + "+1" * 320_000 + " -- a comment", gold="SELECT 1")
    assert (set(outcome.verdicts), outcome.error_class) == ({"exec_error"}, "too_complex")


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_a_gold_that_is_too_large_is_undecided(music: str, name: str) -> None:
    assert set(outcome_of(music, "SELECT 1", gold=LONG_TEXTS[name], verdict=None).verdicts) == {"undecided"}


def test_space_around_a_query_does_not_make_it_too_large(music: str) -> None:
    outcome = outcome_of(music, "\n" * 2_000_000 + NAMES + ";" + " " * 2_000_000)
    assert set(outcome.verdicts) == {"match"}


def test_many_large_texts_of_one_question_leave_a_small_worker_alive(music: str) -> None:
    question = GoldQuestion(music, NAMES, "ok", 100)
    large = [f"SELECT name FROM singer WHERE name < '{number}{'z' * 900_000}'" for number in range(12)]
    larger = [f"SELECT {number}{' ' * 1_000}, '{'z' * 3_000_000}'" for number in range(12)]
    rules = replace(RULES, limits=replace(LIMITS, memory_mb=64))
    outcomes = judge([(question, sql) for sql in (*large, *larger, NAMES)], rules, local(1))
    assert {outcome.error_class for outcome in outcomes[:12]} <= {None, "memory"}  # a net of the query
    assert {outcome.error_class for outcome in outcomes[12:24]} == {"size"}
    assert outcomes[-1].verdict == "match"


def test_whether_digests_are_read_changes_no_verdict(music: str) -> None:
    texts = [*EARLY.values(), NAMES, CROSS_JOIN, ENDLESS, "SELECT name FROM singer, album", "SELECT 1, 2", "SELECT x"]
    items: list[Item] = [(GoldQuestion(music, gold), sql) for gold in (NAMES, "SELECT 1", CROSS_JOIN) for sql in texts]
    with_digests, without = (judge(items, replace(RULES, digest_rows=rows), local(1)) for rows in (1000, 0))
    assert [one.verdicts for one in with_digests] == [other.verdicts for other in without]


def test_a_query_ends_before_its_first_row_when_its_columns_are_too_many(music: str) -> None:
    question = GoldQuestion(music, NAMES)
    (outcome,) = judge([(question, "SELECT name, age FROM singer")], replace(RULES, digest_rows=0), local(1))
    assert (outcome.verdict, outcome.rows) == ("mismatch", 0)


@pytest.mark.parametrize("sql", ["SELECT absent", ENDLESS, "", "DROP TABLE singer"])
def test_a_gold_that_was_not_executed_before_and_fails_is_a_gold_error(music: str, sql: str) -> None:
    outcome = outcome_of(music, sql, gold=sql, verdict=None)
    assert set(outcome.verdicts) == {"gold_error"}
    assert (outcome.error or "").startswith("the gold query: ")


def test_the_cache_changes_no_outcome_and_keeps_nothing_that_a_net_decided(music: str, tmp_path: Path) -> None:
    question = GoldQuestion(music, NAMES)
    slow = replace(RULES, limits=replace(LIMITS, wall_seconds=0.2), budget=Budget(10**10, 1))
    items: list[Item] = [(question, sql) for sql in (NAMES, "SELECT 1", "SELECT x", ENDLESS, "")]
    cache = Cache(tmp_path / "cache")
    first, second = (judge(items, slow, local(1), cache) for _ in range(2))
    assert first == second == judge(items, slow, local(1))
    assert [outcome.error_class for outcome in first] == [None, None, "no_such_column", "time", None]
    rows = list(cache.get(keys_of(cache)).values())
    assert sorted(row[0] for row in rows) == ["exec_error", "match", "mismatch", "no_sql"]


def keys_of(cache: Cache) -> list[bytes]:
    return [key for (key,) in apsw.Connection(str(cache.file)).execute("SELECT key FROM checked_record")]


def test_a_changed_database_contract_budget_limit_or_gold_is_executed_anew(music: str, tmp_path: Path) -> None:
    cache, question = Cache(tmp_path / "cache"), GoldQuestion(music, NAMES)
    changed = [
        replace(RULES, contract="bird"), replace(RULES, budget=Budget(7, 1)), replace(RULES, digest_rows=0),
        replace(RULES, limits=replace(LIMITS, max_rows=5)),
    ]  # fmt: skip
    for rules in (RULES, *changed, RULES):
        judge([(question, "SELECT 1")], rules, local(1), cache)
    assert len(keys_of(cache)) == 5
    judge([(GoldQuestion(music, NAMES, "ok", 9), "SELECT 1")], RULES, local(1), cache)
    connection = sqlite3.connect(music)
    connection.execute("DELETE FROM album")
    connection.commit()
    connection.close()
    judge([(question, "SELECT 1")], RULES, local(1), Cache(tmp_path / "cache"))
    assert len(keys_of(cache)) == 7


def test_a_wrong_result_has_a_digest_unless_reading_it_stopped(music: str) -> None:
    some, many = f"SELECT x FROM ({numbers(DIGEST_ROWS)})", f"SELECT x FROM ({numbers(10 * DIGEST_ROWS)})"
    assert outcome_of(music, some).digest
    stopped = outcome_of(music, many)
    assert (stopped.verdict, stopped.digest, stopped.rows) == ("mismatch", None, DIGEST_ROWS + 100)


def numbers(count: int) -> str:
    return counting(count).replace("count(*)", "x")


def test_outcomes_do_not_depend_on_workers_or_on_the_order_of_items(music: str) -> None:
    golds = [GoldQuestion(music, gold, "ok", 100, "") for gold in (NAMES, "SELECT count(*) FROM album")]
    texts = (NAMES, "SELECT 4", "SELECT 1 +", ENDLESS, CROSS_JOIN, "SELECT random()", "SELECT name FROM singer LIMIT 2")
    items = [(question, sql) for sql in texts for question in golds] * 3
    one = judge(items, RULES, local(1))
    many = judge(items[::-1], RULES, local(4))
    assert one == many[::-1]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a Worker of this process executes."""
    texts: list[str] = []
    execute = Database.execute

    def noting(self: Database, sql: str, *arguments: Any) -> Execution:
        texts.append(sql)
        return execute(self, sql, *arguments)

    monkeypatch.setattr(Database, "execute", noting)
    return texts


def test_each_text_runs_once_on_a_database_and_the_gold_once(music: str, executed: list[str]) -> None:
    worker, texts = Worker(RULES), [NAMES, "SELECT title FROM album", "SELECT 1", "SELECT x"]
    for gold in (NAMES, "SELECT title FROM album"):
        for sql in texts:
            worker((GoldQuestion(music, gold), sql))
    assert sorted(executed) == sorted(texts)


def test_a_remembered_result_says_what_a_fresh_execution_would(music: str) -> None:
    texts = [NAMES, "SELECT name, age FROM singer", "SELECT 1", "SELECT x", counting(5000), "SELECT 1 FROM album"]
    items = [(GoldQuestion(music, gold), sql) for gold in texts for sql in texts]
    for rules in (RULES, replace(RULES, digest_rows=0, budget=Budget(20_000, 1))):
        worker = Worker(rules)
        assert [worker(item) for item in items] == [Worker(rules)(item) for item in items]


def test_every_module_that_decides_a_verdict_is_in_the_key_of_the_cache() -> None:
    rooms = {path.parts[1] for path in imports(Path("stages/execution/worker.py")) if len(path.parts) > 2}
    assert rooms - {"cache", "core", "datasets"} == set(ROOMS)  # those three carry records, files and names
