from typing import Any

import polars as pl
import pytest

from stages.datasets.verdicts import Verdict
from stages.execution.records import Outcome
from stages.execution.summary import outcome_columns
from stages.scoring.figure_tables import score_table
from stages.scoring.figures import score_figures

Sample = tuple[int, Verdict, str | None]
"""The index of the question, the verdict under every contract, and the digest."""

RIGHT: Verdict = "match"
WRONG: Verdict = "mismatch"
FAILED: Verdict = "exec_error"


def predictions(
    *samples: Sample, difficulties: tuple[str, ...] = ("easy",) * 9, **measured: list[float]
) -> pl.DataFrame:
    """One row for each sample."""
    indices = [index for index, _, _ in samples]
    outcomes = [Outcome(verdict, (verdict,) * 3, None, None, 10, 1, made) for _, verdict, made in samples]
    frame = pl.DataFrame({
        "index": indices, "sample": range(len(samples)), "db_id": "music", "source": "", **measured,
        "sql": [f"SELECT {number}" for number in range(len(samples))],
        "difficulty": [difficulties[index] for index in indices],
    })  # fmt: skip
    return frame.with_columns(outcome_columns(outcomes))


def under_contracts(*verdicts: tuple[Verdict, Verdict, Verdict]) -> pl.DataFrame:
    """One row a question: its verdicts under spider, bird and strict."""
    frame = predictions(*((index, each[2], None) for index, each in enumerate(verdicts)))
    names = ("spider", "bird", "strict")
    return frame.with_columns(pl.Series(name, [each[at] for each in verdicts]) for at, name in enumerate(names))


def test_ex_is_the_share_of_matches_under_each_contract() -> None:
    frame = under_contracts((RIGHT, RIGHT, RIGHT), (RIGHT, RIGHT, WRONG), (RIGHT, WRONG, WRONG))
    assert score_figures(frame)["ex"] == {"spider": 1.0, "bird": 0.6667, "strict": 0.3333}


def test_ex_of_a_set_weighs_every_question_the_same() -> None:
    three_of_four: list[Sample] = [(0, RIGHT, "a"), (0, RIGHT, "a"), (0, RIGHT, "a"), (0, WRONG, "b")]
    frame = predictions(*three_of_four, (1, WRONG, "c"), (1, WRONG, "c"))
    metrics = score_figures(frame)
    assert metrics["ex"]["strict"] == metrics["pass_at"]["1"] == 0.375
    assert (metrics["questions"], metrics["predictions"]) == (2, 6)


def test_the_interval_of_ex_is_over_questions_not_over_predictions() -> None:
    samples: list[Sample] = [(index, RIGHT if index < 30 else WRONG, "a") for index in range(40) for _ in range(8)]
    metrics = score_figures(predictions(*samples, difficulties=("easy",) * 40))
    assert metrics["ex_low"]["strict"] < 0.65 and metrics["ex_high"]["strict"] > 0.85  # of 320 it would be 0.70 to 0.80


def test_each_difficulty_counts_its_questions_not_its_predictions() -> None:
    samples: list[Sample] = [
        (0, RIGHT, "a"), (0, WRONG, "b"), (1, FAILED, None), (1, RIGHT, "c"), (2, RIGHT, "d"), (2, RIGHT, "d"),
    ]  # fmt: skip
    metrics = score_figures(predictions(*samples, difficulties=("easy", "hard", "easy")))
    assert {name: (each["questions"], each["strict"]) for name, each in metrics["ex_difficulty"].items()} == {
        "easy": (2, 0.75), "hard": (1, 0.5),
    }  # fmt: skip
    assert sum(each["questions"] for each in metrics["ex_difficulty"].values()) == metrics["questions"]


def test_k_takes_the_powers_of_two_and_all_samples() -> None:
    samples: list[Sample] = [
        (0, RIGHT, "a"), (0, WRONG, "b"), (0, WRONG, "b"),  # most say b
        (1, WRONG, "b"), (1, RIGHT, "a"), (1, RIGHT, "a"),
        (2, FAILED, None), (2, FAILED, None), (2, RIGHT, "a"),  # what fails has no vote
    ]  # fmt: skip
    metrics = score_figures(predictions(*samples))
    assert metrics["pass_at"] == {"1": 0.4444, "2": 0.7778, "3": 1.0}  # 1/3 2/3 1/3; 2/3 1 2/3; 1 1 1
    assert metrics["maj_at"] == {"1": 0.3333, "2": 0.3333, "3": 0.6667}


def test_k_goes_up_to_the_fewest_predictions_of_a_question() -> None:
    samples: list[Sample] = [*[(0, RIGHT, "a")] * 4, *[(1, RIGHT, "a")] * 2]
    assert list(score_figures(predictions(*samples))["maj_at"]) == ["1", "2"]


def test_one_question_with_one_prediction_leaves_pass_and_majority_out() -> None:
    metrics = score_figures(predictions((0, RIGHT, "a"), (0, RIGHT, "a"), (1, RIGHT, "a")))
    assert "pass_at" not in metrics and "maj_at" not in metrics


def test_measured_figures_are_means_over_questions() -> None:
    samples: list[Sample] = [(0, RIGHT, "a"), (0, RIGHT, "a"), (1, WRONG, "b"), (1, WRONG, "b")]
    frame = predictions(*samples, soft_f1=[1.0, 1.0, 0.5, 0.0], time_ratio=[4.0, 1.0, 0.0, 0.0])
    metrics = score_figures(frame.with_columns(ts=pl.Series([True, False, False, False])))
    assert metrics["soft_f1"] == 0.625
    assert metrics["ves"] == 0.75  # the mean of (2 + 1) / 2 and 0
    assert metrics["r_ves"] == 0.5295  # the mean of (√1.25 + 1) / 2 and 0
    assert metrics["ts"] == 0.25


def test_what_was_not_measured_is_not_there() -> None:
    metrics = score_figures(predictions((0, RIGHT, "a")))
    assert not {"soft_f1", "ves", "r_ves", "ts"} & metrics.keys()


@pytest.fixture
def metrics() -> dict[str, Any]:
    samples: list[Sample] = [(0, RIGHT, "a"), (1, WRONG, "b"), (2, RIGHT, "c")]
    frame = predictions(*samples, difficulties=("hard", "easy", "odd"), soft_f1=[1.0, 0.5, 1.0])
    return score_figures(frame)


def test_the_table_shows_the_levels_from_easy_on_and_all(metrics: dict[str, Any]) -> None:
    assert score_table(metrics, "strict").splitlines() == [
        "               easy    hard     odd     all",
        "questions         1       1       1       3",
        "EX spider      0.00  100.00  100.00   66.67  (0.00–100.00)",
        "EX bird        0.00  100.00  100.00   66.67  (0.00–100.00)",
        "EX strict      0.00  100.00  100.00   66.67  (0.00–100.00)",
        "verdicts of 3 predictions (strict): 2 match, 1 mismatch",
        "Soft F1: 83.33",
    ]


def test_the_table_rounds_no_figure_twice(metrics: dict[str, Any]) -> None:
    metrics["ex"]["spider"] = 0.7895  # 30 of 38, which is 78.9 %, not 79.0 %
    assert "  78.95  (" in score_table(metrics, "strict")


def test_the_table_names_the_contract_of_what_hangs_on_it() -> None:
    samples: list[Sample] = [(0, RIGHT, "a"), (0, WRONG, "b")]
    frame = predictions(*samples, time_ratio=[1.0, 0.0]).with_columns(ts=pl.Series([True, False]))
    assert score_table(score_figures(frame), "bird").splitlines()[-6:] == [
        "verdicts of 2 predictions (bird): 1 match, 1 mismatch",
        "VES (bird): 50.00",
        "R-VES (bird): 50.00",
        "TS (bird): 50.00",
        "pass@k (bird): 1: 50.00, 2: 100.00",
        "maj@k (bird): 1: 100.00, 2: 100.00",
    ]
