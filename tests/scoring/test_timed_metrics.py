import math
from pathlib import Path

import pytest

from stages.execution.sandbox import Database, Execution, Limits
from stages.scoring import timed_metrics as measure
from stages.scoring.timed_metrics import Task, soft_f1_scores, time_ratios
from tests.execution.world import ENDLESS, LIMITS, counting, make_database

BUDGET = 5_000_000
NAMES = "SELECT name FROM singer ORDER BY singer_id"


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_database(tmp_path_factory.mktemp("databases")))


def test_soft_f1_compares_the_whole_results(music: str) -> None:
    tasks = [
        (music, NAMES, NAMES),
        (music, NAMES, f"{NAMES} LIMIT 1"),  # tp 1, fn 3
        (music, NAMES, "SELECT singer_id, name FROM singer"),  # tp 4, fp 4
        (music, "SELECT 1 WHERE 0", "SELECT 2 WHERE 0"),
    ]
    assert soft_f1_scores(tasks, LIMITS, BUDGET, 1) == pytest.approx([1, 2 / 5, 2 / 3, 1])


def test_what_fails_has_no_soft_f1_even_if_the_gold_fails_too(music: str) -> None:
    failing = ["SELECT nothing", "", "SELECT 1; SELECT 1", "DROP TABLE singer", ENDLESS]
    tasks = [pair for sql in failing for pair in [(music, NAMES, sql), (music, sql, NAMES), (music, sql, sql)]]
    assert soft_f1_scores(tasks, LIMITS, BUDGET, 1) == [0.0] * 15


def test_what_meets_the_wall_clock_twice_has_no_soft_f1_and_the_others_have(music: str) -> None:
    limits = Limits(wall_seconds=0.2, memory_mb=512, max_rows=100, result_mb=1)
    tasks = [(music, NAMES, NAMES), (music, NAMES, ENDLESS), (music, "SELECT 1", "SELECT 1")]
    assert soft_f1_scores(tasks, limits, 10**12, 1) == [1, 0, 1]


def test_soft_f1_does_not_depend_on_the_order_of_tasks_nor_on_the_workers(music: str, tmp_path: Path) -> None:
    other = str(make_database(tmp_path, "other"))
    golds = [NAMES, "SELECT age, name FROM singer", "SELECT title FROM album", "SELECT nothing"]
    tasks = [(path, gold, sql) for path in (music, other) for gold in golds for sql in [*golds, NAMES]]
    scores = soft_f1_scores(tasks, LIMITS, BUDGET, 1)
    assert soft_f1_scores(tasks[::-1], LIMITS, BUDGET, 2) == scores[::-1]
    assert len(set(scores)) > 2


def test_the_gold_runs_once_for_all_predictions_of_it(music: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    execute = Database.execute

    def counted(database: Database, sql: str, budget: int, limits: Limits) -> Execution:
        ran.append(sql)
        return execute(database, sql, budget, limits)

    monkeypatch.setattr(Database, "execute", counted)
    monkeypatch.setattr(measure, "limit_process", lambda memory_mb: None)
    work = measure._make_soft_f1(LIMITS, BUDGET, lambda: None)
    for sql in ("SELECT 1", "SELECT 2", "SELECT 3"):
        work((music, NAMES, sql))
    assert ran == [NAMES, "SELECT 1", "SELECT 2", "SELECT 3"]


def test_a_query_timed_against_itself_has_a_finite_ratio_above_0(music: str) -> None:
    [ratio] = time_ratios([(music, NAMES, NAMES)], LIMITS, BUDGET, repeats=20)
    assert math.isfinite(ratio) and ratio > 0


def test_the_ratio_is_above_1_for_a_prediction_of_far_fewer_steps(music: str) -> None:
    much, little = counting(50_000), counting(50)
    faster, slower = time_ratios([(music, much, little), (music, little, much)], LIMITS, BUDGET, repeats=5)
    assert slower < 1 < faster


def test_a_query_that_fails_has_no_ratio(music: str) -> None:
    tasks: list[Task] = [(music, NAMES, "SELECT nothing"), (music, "SELECT nothing", NAMES), (music, ENDLESS, ENDLESS)]
    assert time_ratios(tasks, LIMITS, BUDGET, repeats=2) == [0.0, 0.0, 0.0]


def test_repeating_ends_with_the_wall_clock_and_what_was_measured_counts(music: str) -> None:
    limits = Limits(wall_seconds=0.5, memory_mb=512, max_rows=100, result_mb=1)
    [ratio] = time_ratios([(music, counting(1000), counting(1000))], limits, BUDGET, repeats=10**9)
    assert ratio > 0


def test_no_tasks_have_no_scores() -> None:
    assert soft_f1_scores([], LIMITS, BUDGET, 2) == time_ratios([], LIMITS, BUDGET, 2) == []
