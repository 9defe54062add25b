"""Intervals, paired differences and McNemar's test, against what is known of them."""

import numpy as np
import pytest

from stages.scoring.intervals import mcnemar_p, mean_interval, paired_difference


def test_the_interval_is_the_same_for_the_same_seed_and_holds_the_mean() -> None:
    values = [1.0] * 70 + [0.0] * 30
    mean, low, high = mean_interval(values, seed=3)
    assert (mean, low, high) == mean_interval(values, seed=3)
    assert mean == 0.7 and 0.58 < low < 0.65 and 0.75 < high < 0.82


def test_the_interval_is_that_of_resampling_by_hand() -> None:
    values = np.random.default_rng(1).random(50)
    generator = np.random.default_rng(7)
    means = [values[generator.integers(0, 50, 50)].mean() for _ in range(300)]
    _, *interval = mean_interval(values.tolist(), seed=7, resamples=300)
    assert interval == pytest.approx(np.percentile(means, [2.5, 97.5]))


@pytest.mark.parametrize("values", [[0.25], [0.25, 0.25, 0.25]])
def test_where_all_values_are_equal_the_interval_is_a_point(values: list[float]) -> None:
    assert mean_interval(values, seed=0) == (0.25, 0.25, 0.25)


def test_the_interval_of_no_values_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([], seed=0)


def test_a_paired_difference_is_surer_than_that_of_two_models_that_share_no_question() -> None:
    base = [1.0, 0.0] * 50
    better = [1.0] * 10 + base[10:]
    mean, low, high = paired_difference(better, base, seed=1)
    assert mean == pytest.approx(0.05) and 0 < low < 0.05 < high < 0.105
    assert high - low < mean_interval(base, seed=1).high - mean_interval(base, seed=1).low


def test_a_paired_difference_needs_the_same_questions() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 0.0], [1.0], seed=1)


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 0, 1.0), (10, 0, 2 / 2**10), (0, 10, 2 / 2**10), (8, 2, 2 * 56 / 2**10)],
)
def test_the_p_value_is_the_two_sided_tail_of_the_binomial_distribution(won: int, lost: int, p: float) -> None:
    assert mcnemar_p(won, lost) == pytest.approx(p)
