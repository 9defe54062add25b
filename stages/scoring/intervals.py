"""How sure a figure is: the interval of a mean, the paired difference of two models, and its test. All figures of
`evaluate`, `score`, `sweep`, `ablate` and `compare` are computed here."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, bootstrap

RESAMPLES = 2000
_BATCH = 10  # resamples at a time: 5,000 questions take half a megabyte, and more is no faster


class Estimate(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float], seed: int, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `values` with its 95 % percentile bootstrap interval. Raises ValueError where there are no values.

    Percentile and not BCa, which gives no interval where all values are equal, as in every difference of a model from
    itself.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    mean = sum(values) / len(values)
    if len(values) == 1:  # SciPy wants two
        return Estimate(mean, mean, mean)
    interval = bootstrap(
        (np.asarray(values, dtype=np.float64),), np.mean, n_resamples=resamples, batch=_BATCH, method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Estimate(mean, float(interval.low), float(interval.high))


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], seed: int, resamples: int = RESAMPLES
) -> Estimate:
    """The mean of `values` less that of `baseline`, where both have one value a question, in the same order; its
    interval is over questions. Raises ValueError where their lengths differ, or there are no values."""
    return mean_interval([value - base for value, base in zip(values, baseline, strict=True)], seed, resamples)


def mcnemar_p(won: int, lost: int) -> float:
    """The p-value of McNemar's exact test, two-sided: how likely a split of the questions that only one of two models
    answers right is, or a more uneven one, if both were equally good. 1 where there are no such questions."""
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
