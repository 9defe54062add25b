"""Figures over the verdicts of several samples a question."""

from collections.abc import Sequence
from math import comb

import numpy as np

from stages.sql.verdicts import Verdict

Sample = tuple[Verdict, str | None]
"""The verdict of one sample, and the digest of its result (None without a complete result)."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """The probability that at least one of k samples is right, drawn without putting back from n of which c are right.

    The unbiased estimator of Chen et al. 2021: 1 - C(n-c, k) / C(n, k). Raises ValueError unless 0 <= c <= n and
    1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, not n={n}, c={c}, k={k}")
    return 1 - comb(n - c, k) / comb(n, k)


def majority_at_k(samples: Sequence[Sample], k: int) -> bool:
    """Whether the answer that most of the first k samples give is right.

    Samples that executed (match or mismatch) vote. Those of equal digest are one answer; a sample whose result was not
    read to its end has no digest, and is an answer of its own. The answer with the most votes wins, of equal ones the
    one given first. It is right if its first sample's verdict is `match`; where nothing executed, it is wrong.
    Raises ValueError unless 1 <= k <= the number of samples.
    """
    if not 1 <= k <= len(samples):
        raise ValueError(f"maj@k needs 1 <= k <= {len(samples)} samples, not k={k}")
    votes: dict[object, list[Verdict]] = {}
    for index, (verdict, digest) in enumerate(samples[:k]):
        if verdict in ("match", "mismatch"):
            votes.setdefault(index if digest is None else digest, []).append(verdict)
    return bool(votes) and max(votes.values(), key=len)[0] == "match"


def bootstrap_interval(values: Sequence[float], seed: int, resamples: int = 2000) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of `values`, from resampling them with replacement.

    Raises ValueError where there are no values.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    given, generator = np.asarray(values, dtype=np.float64), np.random.default_rng(seed)
    means = [given[generator.integers(0, len(given), len(given))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
