from dataclasses import replace
from pathlib import Path

import pytest

from stages.errors import UserError
from stages.sql import judge as judge_module
from stages.sql.compare import Contract
from stages.sql.judge import DIGEST_ROWS, Budget, Outcome, Question, judge
from stages.sql.sandbox import Limits
from stages.sql.verdicts import VERDICTS
from tests.sql.world import CROSS_JOIN, ENDLESS, LIMITS, counting, make_database

BUDGET = Budget(floor=1_000_000, factor=10)
STUCK = "SELECT instr(h, substr(h, 1, 4000000) || 'b') FROM (SELECT replace(hex(zeroblob(4000000)), '0', 'a') AS h)"
NAMES = "SELECT name FROM singer"


@pytest.fixture
def databases(tmp_path: Path) -> Path:
    make_database(tmp_path)
    return tmp_path


def outcome_of(
    databases: Path, sql: str, gold: str = NAMES, contract: Contract = "strict", limits: Limits = LIMITS,
    verdict: str = "ok", flags: str = "",
) -> Outcome:  # fmt: skip
    question = Question("music", gold, verdict, 100, flags)
    return judge([(question, sql)], databases, BUDGET, limits, contract, 1)[0]


def test_each_candidate_gets_its_verdict(databases: Path) -> None:
    question = Question("music", NAMES, "ok", 100, "")
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
    outcomes = judge([(question, sql) for sql in expected], databases, BUDGET, LIMITS, "strict", 2)
    assert [outcome.verdict for outcome in outcomes] == list(expected.values())
    assert set(expected.values()) < set(VERDICTS)
    for outcome in outcomes:
        assert (outcome.error is None) == (outcome.verdict in ("match", "mismatch"))
        assert (outcome.error_class is None) == (outcome.verdict not in ("exec_error", "undecided"))
    assert [path.name for path in (databases / "music").iterdir()] == ["music.sqlite"]


@pytest.mark.parametrize("verdict", ["exec_error", "over_budget"])
@pytest.mark.parametrize("sql", ["SELECT absent", ENDLESS, "", NAMES])
def test_nothing_matches_a_gold_that_fails_not_even_the_same_text(databases: Path, verdict: str, sql: str) -> None:
    outcome = outcome_of(databases, sql, gold=sql, verdict=verdict)
    assert set(outcome.verdicts.values()) == {outcome.verdict} == {"gold_error"}


def test_nothing_is_decided_by_an_undecided_gold(databases: Path) -> None:
    assert outcome_of(databases, NAMES, verdict="undecided").verdict == "undecided"


@pytest.mark.parametrize("sql", ["SELECT absent FROM singer", "SELECT 1; SELECT 1", ENDLESS])
def test_two_equal_failures_do_not_match(databases: Path, sql: str) -> None:
    outcome = outcome_of(databases, sql, gold=sql)  # the gold dataset says ok, yet it fails here
    assert outcome.verdict == "gold_error"


def test_two_time_outs_do_not_match(databases: Path) -> None:
    limits = replace(LIMITS, wall_seconds=0.1)
    question = Question("music", ENDLESS, "ok", 10**12, "")
    outcome = judge([(question, ENDLESS)], databases, BUDGET, limits, "strict", 1)[0]
    assert (outcome.verdict, outcome.error_class) == ("undecided", "time")


def test_a_query_that_hangs_inside_sqlite_is_undecided_and_the_run_goes_on(
    databases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_module, "HANG_GRACE_SECONDS", 0.5)
    question = Question("music", NAMES, "ok", 100, "")
    limits = replace(LIMITS, wall_seconds=0.5)
    outcomes = judge([(question, STUCK), (question, NAMES)], databases, BUDGET, limits, "strict", 1)
    assert [(outcome.verdict, outcome.error_class) for outcome in outcomes] == [("undecided", "lost"), ("match", None)]


def test_a_query_that_needs_more_memory_than_it_may_is_undecided(databases: Path) -> None:
    sql = f"SELECT zeroblob(1000000) AS z FROM ({counting(500).replace('count(*)', 'x')}) ORDER BY z, x"
    outcome = outcome_of(databases, sql, limits=replace(LIMITS, memory_mb=64))
    assert (outcome.verdict, outcome.error_class) == ("undecided", "memory")


def test_contracts_part_where_their_rules_do(databases: Path) -> None:
    golds = {
        "SELECT country FROM singer": ("SELECT DISTINCT country FROM singer", "match", "match", "mismatch"),
        "SELECT name, age FROM singer": ("SELECT age, name FROM singer", "match", "mismatch", "match"),
        "SELECT name FROM singer ORDER BY age DESC, name": (NAMES, "mismatch", "match", "mismatch"),
        "SELECT name FROM singer WHERE age IN (SELECT age FROM singer ORDER BY age)": (
            "SELECT name FROM singer ORDER BY name DESC", "mismatch", "match", "match",
        ),
    }  # fmt: skip
    for gold, (sql, *expected) in golds.items():
        assert list(outcome_of(databases, sql, gold).verdicts.values()) == expected


def test_an_unstable_order_does_not_count_in_strict(databases: Path) -> None:
    gold, sql = "SELECT name FROM singer ORDER BY age", "SELECT name FROM singer ORDER BY age, name DESC"
    assert outcome_of(databases, sql, gold).verdict == "mismatch"
    assert outcome_of(databases, sql, gold, flags="order_unstable").verdict == "match"


def test_the_row_tells_of_the_text_that_its_contract_ran(databases: Path) -> None:
    sql = "SELECT DISTINCT country FROM singer"
    strict, spider = (outcome_of(databases, sql, contract=contract) for contract in ("strict", "spider"))
    assert (strict.rows, spider.rows) == (3, 4)


def test_a_result_of_too_many_rows_is_a_mismatch_also_past_the_budget(databases: Path) -> None:
    sql = "SELECT a.name FROM singer a" + "".join(f", singer b{number}" for number in range(12))
    outcome = outcome_of(databases, sql, limits=replace(LIMITS, max_rows=10**7))
    assert outcome.verdicts == {"spider": "mismatch", "bird": "over_budget", "strict": "mismatch"}
    assert (outcome.error, outcome.digest) == (None, None)


def test_a_wrong_result_has_a_digest_unless_reading_it_stopped(databases: Path) -> None:
    some, many = f"SELECT x FROM ({numbers(DIGEST_ROWS)})", f"SELECT x FROM ({numbers(10 * DIGEST_ROWS)})"
    assert outcome_of(databases, some).digest
    stopped = outcome_of(databases, many)
    assert (stopped.verdict, stopped.digest, stopped.rows) == ("mismatch", None, DIGEST_ROWS + 100)


def numbers(count: int) -> str:
    return counting(count).replace("count(*)", "x")


def test_outcomes_do_not_depend_on_workers_or_on_the_order_of_items(databases: Path) -> None:
    golds = [Question("music", gold, "ok", 100, "") for gold in (NAMES, "SELECT count(*) FROM album")]
    texts = (NAMES, "SELECT 4", "SELECT 1 +", ENDLESS, CROSS_JOIN, "SELECT random()", "SELECT name FROM singer LIMIT 2")
    items = [(question, sql) for sql in texts for question in golds] * 3
    one = judge(items, databases, BUDGET, LIMITS, "strict", 1)
    many = judge(items[::-1], databases, BUDGET, LIMITS, "strict", 4)
    assert one == many[::-1]


def test_missing_databases_are_named_before_any_work(databases: Path) -> None:
    items = [(Question(db_id, NAMES, "ok", 1, ""), NAMES) for db_id in ("lost", "music", "gone")]
    with pytest.raises(UserError, match=r"gone\.sqlite does not exist.*\n.*lost\.sqlite does not exist"):
        judge(items, databases, BUDGET, LIMITS, "strict", 1)
