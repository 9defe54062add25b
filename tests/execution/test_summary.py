import polars as pl
import pytest

from stages.datasets.verdicts import VERDICTS, Verdict
from stages.execution.records import Outcome
from stages.execution.summary import outcome_columns, summary

Verdicts = tuple[Verdict, Verdict, Verdict]
EVERYWHERE: Verdicts = ("match", "match", "match")
NOWHERE: Verdicts = ("mismatch", "mismatch", "mismatch")
NOT_STRICT: Verdicts = ("match", "match", "mismatch")
ONLY_BIRD: Verdicts = ("mismatch", "match", "mismatch")
SPIDER_FAILS: Verdicts = ("exec_error", "match", "match")
FAILED: Verdicts = ("exec_error", "exec_error", "exec_error")
NO_SQL: Verdicts = ("no_sql", "no_sql", "no_sql")


def outcome(verdicts: Verdicts, steps: int | None = 10, error_class: str | None = None) -> Outcome:
    """Under `strict`, the last of the contracts."""
    return Outcome(verdicts[2], verdicts, error_class, error_class and f"it is {error_class}", steps, 1, None)


OUTCOMES = [
    outcome(EVERYWHERE, 30), outcome(NOT_STRICT, 50), outcome(ONLY_BIRD, 20), outcome(NOWHERE, 50),
    outcome(SPIDER_FAILS, 40), outcome(FAILED, 1, "no_column"), outcome(FAILED, 2, "forbidden"),
    outcome(FAILED, 3, "no_column"), outcome(NO_SQL, None),
]  # fmt: skip


@pytest.fixture
def candidates() -> pl.DataFrame:
    return pl.DataFrame({
        "key": range(9),
        "db_id": ["music", "music", "music", "tour", "music", "music", "music", "music", "music"],
        "sql": ["SELECT 1", "SELECT 1", "SELECT 2", "SELECT 1", "SELECT 4", "x", "DROP", "x", ""],
        "source": ["b", "a", "a", "a", "a", "a", "a", "a", "a"],
        "difficulty": ["hard", "easy", "easy", "easy", "hard", "easy", "easy", "easy", "easy"],
    }).with_columns(outcome_columns(OUTCOMES))


def test_outcomes_become_columns_of_set_types() -> None:
    frame = pl.DataFrame(outcome_columns([outcome(SPIDER_FAILS, None)]))
    assert frame.rows(named=True) == [{
        "verdict": "match", "error_class": None, "error": None, "digest": None, "steps": None, "rows": 1,
        "spider": "exec_error", "bird": "match", "strict": "match",
    }]  # fmt: skip
    assert frame.schema == pl.DataFrame(outcome_columns([])).schema
    assert frame["steps"].dtype == pl.Int64 and frame["error"].dtype == pl.String


def test_verdicts_are_those_of_the_contract_asked_for_and_none_is_left_out(candidates: pl.DataFrame) -> None:
    verdicts = summary(candidates, "key")["verdicts"]
    assert list(verdicts) == list(VERDICTS)
    assert {name: count for name, count in verdicts.items() if count} == {
        "match": 2, "mismatch": 3, "exec_error": 3, "no_sql": 1,
    }  # fmt: skip
    assert sum(verdicts.values()) == candidates.height


def test_error_classes_are_counted_by_name(candidates: pl.DataFrame) -> None:
    classes = summary(candidates, "key")["error_classes"]
    assert list(classes.items()) == [("forbidden", 1), ("no_column", 2)]


def test_matches_are_counted_under_each_contract(candidates: pl.DataFrame) -> None:
    assert summary(candidates, "key")["matches"] == {"spider": 2, "bird": 4, "strict": 2}


def test_a_flip_matches_under_exactly_one_of_two_contracts(candidates: pl.DataFrame) -> None:
    flips = summary(candidates, "key")["flips"]
    assert flips == {"spider_bird": 2, "spider_strict": 2, "bird_strict": 2}  # rows 2 4; 1 4; 1 2


def test_two_failures_that_differ_are_no_flip() -> None:
    both: Verdicts = ("exec_error", "over_budget", "mismatch")
    frame = pl.DataFrame({"key": [0], "db_id": ["a"], "sql": ["x"], "source": [""], "difficulty": ["easy"]})
    flips = summary(frame.with_columns(outcome_columns([outcome(both)])), "key")["flips"]
    assert flips == {"spider_bird": 0, "spider_strict": 0, "bird_strict": 0}


def test_each_difficulty_and_source_has_its_verdicts(candidates: pl.DataFrame) -> None:
    found = summary(candidates, "key")
    assert list(found["difficulties"].items()) == [
        ("easy", {"mismatch": 3, "exec_error": 3, "no_sql": 1}), ("hard", {"match": 2}),
    ]  # fmt: skip
    assert list(found["sources"].items()) == [
        ("a", {"match": 1, "mismatch": 3, "exec_error": 3, "no_sql": 1}), ("b", {"match": 1}),
    ]  # fmt: skip


def test_a_text_on_two_databases_is_two_distinct_queries(candidates: pl.DataFrame) -> None:
    assert summary(candidates, "key")["distinct_queries"] == 7


def test_the_slowest_queries_come_first_each_once_and_equally_slow_ones_by_their_key(candidates: pl.DataFrame) -> None:
    slowest = summary(candidates, "key")["slowest"]
    assert [(row["key"], row["steps"]) for row in slowest] == [
        (1, 50), (3, 50), (4, 40), (2, 20), (7, 3), (6, 2),
    ]  # fmt: skip
    assert slowest[1] == {"key": 3, "db_id": "tour", "verdict": "mismatch", "steps": 50, "sql": "SELECT 1"}


def test_no_more_than_ten_slowest_are_named() -> None:
    count = 25
    frame = pl.DataFrame({
        "key": [0] * count, "db_id": ["a"] * count, "sql": [f"SELECT {number}" for number in range(count)],
        "source": [""] * count, "difficulty": ["easy"] * count,
    })  # fmt: skip
    found = summary(frame.with_columns(outcome_columns([outcome(NOWHERE)] * count)), "key")
    assert [row["sql"] for row in found["slowest"]] == [f"SELECT {number}" for number in range(10)]


def test_rows_in_another_order_change_no_count(candidates: pl.DataFrame) -> None:
    assert summary(candidates.reverse(), "key") == summary(candidates, "key")
