"""The figures of a search, against numbers worked out by hand."""

from typing import Any

import polars as pl
import pytest

from stages.scoring.search import Measured, ex_figures, search_figures, search_table


def answers(right: str) -> pl.DataFrame:
    """Answers to questions in turn: `1` right, `0` wrong."""
    rows = [{"question_id": f"q{number}", "db_id": "music", "right": mark == "1"} for number, mark in enumerate(right)]
    return pl.DataFrame(rows)


def measured(right: str) -> Measured:
    return Measured(1234, 0.06, -1.5, answers(right))


SETTINGS: list[dict[str, Any]] = [
    {"pair_set": "weak", "objective": "rft", "rounds": 1, "params": ""},
    {"pair_set": "weak", "objective": "cdpo", "rounds": 1, "params": "beta 0.1"},
    {"pair_set": "weak", "objective": "cdpo", "rounds": 2, "params": "beta 2.0"},
]


@pytest.fixture
def figures() -> dict[str, Any]:
    dev = [measured("1100"), measured("1000"), measured("1111")]
    test = {0: [measured("1100"), measured("1110")], 2: [measured("1111"), measured("1110")]}
    on_dev, on_test = ("demo-dev", answers("1000"), dev), ("demo-test", [answers("1000")] * 2, test)
    return search_figures(SETTINGS, on_dev, on_test, 1, 200)


def test_ex_is_the_mean_over_questions_and_seeds_and_the_difference_is_paired() -> None:
    both = ex_figures([answers("1100"), answers("1111")], [answers("1000"), answers("1010")], 1, 500)
    assert (both["ex"], both["seeds"], both["difference"][0]) == (75.0, [50.0, 100.0], 37.5)
    assert both["difference"][1] < 37.5 < both["difference"][2]


def test_a_model_does_not_differ_from_itself() -> None:
    assert ex_figures([answers("10")], [answers("10")], 1, 200)["difference"] == [0.0, 0.0, 0.0]


def test_what_was_measured_on_test_stands_beside_sft_and_its_control(figures: dict[str, Any]) -> None:
    rft, on_dev_alone, best = figures["settings"]
    assert (on_dev_alone["test"], on_dev_alone["less_control"]) == (None, None)
    assert (best["test"]["ex"], best["test"]["difference"][0]) == (87.5, 62.5)
    assert best["less_control"][0] == 25.0
    assert rft["less_control"] is None


def test_the_table_has_a_row_for_sft_and_for_each_setting(figures: dict[str, Any]) -> None:
    lines = search_table(figures).splitlines()
    assert [line.count("|") for line in lines] == [9] * 6
    assert lines[2] == "| | SFT alone | | | | 25.0 | 25.0 | |"
    assert lines[4].startswith("| weak | cdpo | beta 0.1 | 1,234 | +0.06, -1.50 | 25.0 (+0.0; ")
    assert lines[4].endswith(") |  |  |")
    assert "cdpo, 2 rounds" in lines[5]
