from itertools import combinations

import pytest

from stages.sql.metrics import Sample, bootstrap_interval, majority_at_k, pass_at_k


@pytest.mark.parametrize(("n", "c", "k"), [(5, 0, 1), (5, 2, 1), (5, 2, 3), (5, 5, 2), (6, 1, 6), (8, 3, 4)])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_sample(n: int, c: int, k: int) -> None:
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_pass_at_k_refuses_what_cannot_be(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k"):
        pass_at_k(n, c, k)


RIGHT: Sample = ("match", "a")
WRONG: Sample = ("mismatch", "b")
OTHER: Sample = ("mismatch", "c")
CUT: Sample = ("mismatch", None)
ERROR: Sample = ("exec_error", None)


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
def test_the_largest_group_of_equal_results_answers(samples: list[Sample], k: int, right: bool) -> None:
    assert majority_at_k(samples, k) is right


def test_majority_at_k_refuses_more_votes_than_samples() -> None:
    with pytest.raises(ValueError, match="maj@k"):
        majority_at_k([RIGHT], 2)


def test_the_interval_is_the_same_for_the_same_seed_and_holds_the_mean() -> None:
    values = [1.0] * 70 + [0.0] * 30
    low, high = bootstrap_interval(values, seed=3)
    assert (low, high) == bootstrap_interval(values, seed=3)
    assert 0.58 < low < 0.65 and 0.75 < high < 0.82


def test_the_interval_of_no_values_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([], seed=0)
