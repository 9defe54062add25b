"""The figures of a sweep, and their table."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from stages.scoring.sweep import Setting, sweep_figures, sweep_table

ABOUT = {"model": "dpo", "test_set": "demo-dev"}


def setting(name: str, right: Sequence[bool], pairs: int = 1000, **params: object) -> Setting:
    ids = [f"demo/dev/{number:04}" for number in range(len(right))]
    frame = pl.DataFrame({"question_id": ids, "right": right})
    return Setting(name, {f"pairs.{param}": value for param, value in params.items()}, pairs, frame)


def figures(*settings: Setting) -> dict[str, Any]:
    return sweep_figures(settings, seed=1, resamples=500)


def test_ex_is_the_share_of_right_answers_in_per_cent() -> None:
    result = figures(setting("HEAD", [True, False]), setting("a", [True, True]))
    assert result["questions"] == 2
    assert {name: row["ex"] for name, row in result["settings"].items()} == {"HEAD": 50.0, "a": 100.0}


def test_the_difference_from_the_baseline_is_paired() -> None:
    base, swapped = [True, False] * 50, [False, True] * 50
    same, better = base.copy(), [True] * 10 + base[10:]
    result = figures(setting("HEAD", base), setting("same", same), setting("better", better), setting("other", swapped))
    differences = {name: row["difference"] for name, row in result["settings"].items()}
    assert differences["HEAD"] == differences["same"] == [0.0, 0.0, 0.0]
    difference, low, high = differences["better"]
    assert difference == 5.0 and 0 < low < 5.0 < high < 10.5
    difference, low, high = differences["other"]
    assert difference == 0.0 and low < -15 and high > 15


def test_only_params_that_differ_are_named() -> None:
    result = figures(
        setting("HEAD", [True], limit=1, seed=7, only_here=None), setting("a", [True], limit=3, seed=7),
        setting("b", [True], limit=3, seed=7),
    )  # fmt: skip
    assert [row["params"] for row in result["settings"].values()] == [
        {"pairs.limit": 1}, {"pairs.limit": 3}, {"pairs.limit": 3},
    ]  # fmt: skip


def test_true_is_not_1() -> None:
    result = figures(setting("HEAD", [True], x=1), setting("a", [True], x=True))
    assert [row["params"] for row in result["settings"].values()] == [{"pairs.x": 1}, {"pairs.x": True}]


def test_the_baseline_stands_first_and_the_others_in_the_order_of_their_params() -> None:
    limits = {"c": 10, "none": None, "b": 9, "a": 1.5}
    result = figures(setting("HEAD", [True], limit=20), *(setting(name, [True], limit=limits[name]) for name in limits))
    assert list(result["settings"]) == ["HEAD", "a", "b", "c", "none"]


def test_the_same_answers_give_the_same_figures() -> None:
    settings = [setting("HEAD", [n % 3 == 0 for n in range(50)]), setting("a", [n % 2 == 0 for n in range(50)])]
    assert figures(*settings) == figures(*settings)


def test_answers_to_other_questions_are_not_compared() -> None:
    with pytest.raises(ValueError, match="only answers to the same questions can be compared"):
        figures(setting("HEAD", [True, False]), setting("a", [True]))


def test_the_table_has_a_row_for_each_setting_with_its_params_as_they_are_written() -> None:
    settings = [
        setting("HEAD", [True, False], limit=1, gold=False, filter="all", flags=[]),
        setting("some-name", [True, True], 12345, limit=None, gold=True, filter="error", flags=["limit_tie"]),
    ]  # fmt: skip
    lines = sweep_table(ABOUT | figures(*settings)).splitlines()
    assert lines[0].strip("| ").split(" | ") == [
        "experiment", "`pairs.limit`", "`pairs.gold`", "`pairs.filter`", "`pairs.flags`", "pairs",
        "EX of dpo, demo-dev (2)", "difference from HEAD",
    ]  # fmt: skip
    assert lines[2] == "| HEAD | 1 | false | all | [] | 1,000 | 50.0 |  |"
    assert lines[3].startswith('| some-name | null | true | error | ["limit_tie"] | 12,345 | 100.0 | +50.0 (+0.0 to +')
    assert {line.count("|") for line in lines} == {9}


def test_experiments_that_differ_in_no_param_have_a_table() -> None:
    assert "| a | 1,000 | 100.0 | +0.0 (+0.0 to +0.0) |" in sweep_table(
        ABOUT | figures(setting("HEAD", [True]), setting("a", [True]))
    )
