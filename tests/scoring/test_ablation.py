from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from stages.scoring.ablation import ablation_figures, ablation_table

ROWS = {"human": 100, "verified": 1500}


def frame(right: Sequence[bool], seen: Sequence[bool] | None = None) -> pl.DataFrame:
    ids = [f"demo/test/{number:04}" for number in range(len(right))]
    return pl.DataFrame({"question_id": ids, "right": right, "seen": seen or [True] * len(right)})


def figures(human: Sequence[pl.DataFrame], verified: Sequence[pl.DataFrame]) -> dict[str, Any]:
    return ablation_figures(ROWS, {("test", "human"): human, ("test", "verified"): verified}, seed=1, resamples=500)


def test_ex_is_the_mean_over_questions_and_seeds() -> None:
    whole = figures([frame([True, False]), frame([False, False])], [frame([True, True])] * 2)["test"]["all"]
    assert whole["questions"] == 2
    assert (whole["human"]["ex"], whole["human"]["seeds"]) == (25.0, [50.0, 0.0])
    assert (whole["verified"]["ex"], whole["verified"]["seeds"]) == (100.0, [100.0, 100.0])


def test_the_difference_is_that_of_the_same_questions() -> None:
    right = [True] * 60 + [False] * 40
    better = [True] * 70 + [False] * 30
    difference, low, high = figures([frame(right)], [frame(better)])["test"]["all"]["verified"]["difference"]
    assert difference == 10.0 and 0 < low < 10.0 < high < 20


def test_equal_answers_have_no_difference() -> None:
    same = [frame([True, False, True])]
    assert figures(same, same)["test"]["all"]["verified"]["difference"] == [0.0, 0.0, 0.0]


def test_a_setting_differs_from_itself_by_nothing() -> None:
    assert figures([frame([True])], [frame([False])])["test"]["all"]["human"]["difference"] == [0.0, 0.0, 0.0]


def test_seen_and_unseen_domains_have_figures_of_their_own() -> None:
    seen = [True, True, False]
    parts = figures([frame([True, False, False], seen)], [frame([True, False, True], seen)])["test"]
    assert [parts[part]["questions"] for part in ("all", "seen", "unseen")] == [3, 2, 1]
    assert (parts["seen"]["verified"]["difference"][0], parts["unseen"]["verified"]["difference"][0]) == (0.0, 100.0)


@pytest.mark.parametrize("seen", [True, False])
def test_a_part_that_is_nothing_or_everything_is_left_out(seen: bool) -> None:
    answers = [frame([True, False], [seen] * 2)]
    assert set(figures(answers, answers)["test"]) == {"all"}


def test_the_same_answers_give_the_same_figures() -> None:
    answers = [frame([number % 3 == 0 for number in range(50)])], [frame([number % 2 == 0 for number in range(50)])]
    assert figures(*answers) == figures(*answers)


def test_the_table_has_a_row_a_setting_and_differences_from_the_first() -> None:
    right, better = [True, False], [True, True]
    seen = [True, False]
    table = ablation_table(figures([frame(right, seen)], [frame(better, seen)])).splitlines()
    assert table[0] == "| SFT on | rows | test, all (2) | test, seen (1) | test, unseen (1) |"
    assert table[2] == "| human | 100 | 50.0 | 100.0 | 0.0 |"
    assert table[3].startswith("| verified | 1,500 | 100.0 (+50.0; ")
    assert len({line.count("|") for line in table}) == 1
