import json
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations, zip_longest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.execution.comparison import Row
from stages.scoring.metrics import (
    Vote,
    majority_at_k,
    pass_at_k,
    r_ves,
    soft_f1,
    ves,
    without_outliers,
)
from tests import FIXTURES


@pytest.mark.parametrize(("n", "c", "k"), [(5, 0, 1), (5, 2, 1), (5, 2, 3), (5, 5, 2), (6, 1, 6), (8, 3, 4)])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_sample(n: int, c: int, k: int) -> None:
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_pass_at_k_refuses_what_cannot_be(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k"):
        pass_at_k(n, c, k)


RIGHT: Vote = ("match", "a")
WRONG: Vote = ("mismatch", "b")
OTHER: Vote = ("mismatch", "c")
CUT: Vote = ("mismatch", None)
ERROR: Vote = ("exec_error", None)


@pytest.mark.parametrize(
    ("samples", "k", "right"),
    [
        ([RIGHT, WRONG, RIGHT], 3, True),
        ([WRONG, RIGHT, WRONG], 3, False),
        ([WRONG, RIGHT], 2, False),
        ([RIGHT, WRONG], 2, True),
        ([WRONG, OTHER, RIGHT, RIGHT], 4, True),
        ([WRONG, OTHER, RIGHT, RIGHT], 2, False),
        ([ERROR, ERROR, ERROR, RIGHT], 4, True),
        ([ERROR, ERROR], 2, False),
        ([("no_sql", None), ("over_budget", None), ("undecided", None)], 3, False),
        ([CUT, CUT, RIGHT, RIGHT], 4, True),
        ([CUT, CUT, RIGHT], 3, False),
    ],
)
def test_the_largest_group_of_equal_results_answers(samples: list[Vote], k: int, right: bool) -> None:
    assert majority_at_k(samples, k) is right


def test_majority_at_k_refuses_more_votes_than_samples() -> None:
    with pytest.raises(ValueError, match="maj@k"):
        majority_at_k([RIGHT], 2)


SOFT_F1_CASES = json.loads((FIXTURES / "sql" / "soft_f1.json").read_text("utf-8"))
CELL = st.sampled_from([None, 0, 1, 1.0, 2.5, "", "1", "a", b"a"])


@st.composite
def results(draw: st.DrawFn) -> list[Row]:
    return draw(st.lists(st.tuples(*[CELL] * draw(st.integers(1, 4))), max_size=6))


@pytest.mark.parametrize("case", SOFT_F1_CASES, ids=lambda case: case["case"])
def test_soft_f1_of_each_case_is_what_a_hand_computes(case: dict[str, Any]) -> None:
    gold, rows = ([tuple(row) for row in case[side]] for side in ("gold", "rows"))
    assert soft_f1(gold, rows) == pytest.approx(float(Fraction(case["score"])))


@given(gold=results(), rows=results())
def test_soft_f1_is_the_harmonic_mean_that_the_benchmark_takes(gold: list[Row], rows: list[Row]) -> None:
    assert soft_f1(gold, rows) == pytest.approx(float(benchmark_soft_f1(gold, rows)))


def benchmark_soft_f1(gold: list[Row], rows: list[Row]) -> Fraction:
    """The definition said step by step, in fractions."""
    if not gold and not rows:
        return Fraction(1)
    tp = fp = fn = Fraction(0)
    for wanted, got in zip_longest(dict.fromkeys(gold), dict.fromkeys(rows)):
        if got is None:
            fn += 1
        elif wanted is None:
            fp += 1
        else:
            tp += Fraction(len([cell for cell in got if cell in wanted]), len(wanted))
            fp += Fraction(len([cell for cell in got if cell not in wanted]), len(wanted))
            fn += Fraction(len([cell for cell in wanted if cell not in got]), len(wanted))
    precision = tp / (tp + fp) if tp + fp > 0 else Fraction(0)
    recall = tp / (tp + fn) if tp + fn > 0 else Fraction(0)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else Fraction(0)


def test_ves_is_the_mean_root_of_the_ratios_and_wrong_ones_count() -> None:
    assert ves([4, 0.25, 1, 0]) == pytest.approx((2 + 0.5 + 1 + 0) / 4)


@pytest.mark.parametrize(
    ("ratio", "reward"),
    [(0, 0), (0.01, 0.25), (0.2499, 0.25), (0.25, 0.5), (0.4999, 0.5), (0.5, 0.75), (0.9999, 0.75), (1, 1), (1.9999, 1),
     (2, 1.25), (100, 1.25)],
)  # fmt: skip
def test_r_ves_takes_the_root_of_the_reward_that_the_ratio_earns(ratio: float, reward: float) -> None:
    assert r_ves([ratio]) == pytest.approx(reward**0.5)


def test_r_ves_is_a_mean_in_which_wrong_ones_count() -> None:
    assert r_ves([1, 0, 1.5, 0.3]) == pytest.approx((1 + 0 + 1 + 0.5**0.5) / 4)


@pytest.mark.parametrize("score", [ves, r_ves])
def test_a_score_of_no_questions_is_refused(score: Callable[[list[float]], float]) -> None:
    with pytest.raises(ValueError, match="at least one question"):
        score([])


def test_a_value_beyond_three_standard_deviations_is_an_outlier() -> None:
    assert without_outliers([1.0, 1.1] * 10 + [50.0] + [0.9]) == [1.0, 1.1] * 10 + [0.9]


@pytest.mark.parametrize("values", [[], [0.1], [0.1] * 3, [1.0, 50.0], [1.0] * 8 + [50.0]])
def test_values_that_do_not_part_from_the_others_stay(values: list[float]) -> None:
    assert without_outliers(values) == values


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40))
def test_outliers_are_never_all_of_the_values(values: list[float]) -> None:
    assert len(without_outliers(values)) >= 8 * len(values) / 9
