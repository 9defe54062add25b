"""Figures over the verdicts of several samples a question."""

from collections.abc import Sequence
from math import comb, sqrt
from statistics import fmean, mean, pstdev

from stages.datasets.verdicts import Verdict
from stages.execution.comparison import Row

Vote = tuple[Verdict, str | None]
"""The verdict of one sample, and the digest of its result (None without a complete result)."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """The probability that at least one of k samples is right, drawn without replacement from n of which c are right.

    The unbiased estimator of Chen et al. 2021: 1 - C(n-c, k) / C(n, k). Raises ValueError unless 0 <= c <= n and
    1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, not n={n}, c={c}, k={k}")
    return 1 - comb(n - c, k) / comb(n, k)


def majority_at_k(samples: Sequence[Vote], k: int) -> bool:
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


def soft_f1(gold: Sequence[Row], rows: Sequence[Row]) -> float:
    """BIRD mini-dev's Soft F1 (its `evaluation_f1.py`) of two results: from 0 to 1, without regard to the order of
    columns, but with regard to that of rows.

    Of equal rows in a result the first is kept. The first row is compared with the gold's first, and so on. Counted are
    cells, each as 1 / (cells of the gold's row): tp, those that occur in the gold's row; fp, those that do not; fn,
    those of the gold's row that do not occur in the row. A row without a partner counts 1, as fp or as fn.
    F1 = 2·tp / (2·tp + fp + fn); two empty results score 1.

    The evaluator's first version put rows into a set, so its pairs of rows depended on hashes and could differ between
    runs; the later one keeps the order, as here.
    """
    if not gold and not rows:
        return 1.0
    gold, rows = list(dict.fromkeys(gold)), list(dict.fromkeys(rows))
    tp, fp, fn = 0.0, float(max(0, len(rows) - len(gold))), float(max(0, len(gold) - len(rows)))
    for gold_row, row in zip(gold, rows, strict=False):
        matches = sum(cell in gold_row for cell in row)
        tp += matches / len(gold_row)
        fp += (len(row) - matches) / len(gold_row)
        fn += sum(cell not in row for cell in gold_row) / len(gold_row)
    return 2 * tp / (2 * tp + fp + fn)


def ves(ratios: Sequence[float]) -> float:
    """BIRD's valid efficiency score (its `evaluation_ves.py`, 2023): the mean over all questions of √ratio.

    `ratios`: one a question, the gold's time / the prediction's time, 0 where the prediction is wrong. 1 is "all right
    and as fast as the gold"; BIRD prints 100 times this. Raises ValueError where there are none.
    """
    if not ratios:
        raise ValueError("VES needs at least one question")
    return fmean(map(sqrt, ratios))


def r_ves(ratios: Sequence[float]) -> float:
    """BIRD mini-dev's reward-based VES (its `evaluation_ves.py`): the mean over all questions of √reward.

    `ratios`: as for `ves`. Reward: 1.25 from a ratio of 2 on, 1 from 1, 0.75 from 0.5, 0.5 from 0.25, 0.25 below, and 0
    for a wrong prediction. So the best score is √1.25; BIRD prints 100 times this. Raises ValueError where there are
    none.
    """
    if not ratios:
        raise ValueError("R-VES needs at least one question")
    return fmean(sqrt(_reward(ratio)) for ratio in ratios)


def _reward(ratio: float) -> float:
    steps = ((2, 1.25), (1, 1), (0.5, 0.75), (0.25, 0.5))
    return next((reward for least, reward in steps if ratio >= least), 0.25 if ratio else 0)


def without_outliers(values: Sequence[float]) -> list[float]:
    """The values within three standard deviations (of the population) of their mean, in their order. At least one
    remains.

    BIRD's `clean_abnormal`, except that it also drops what lies on the border, and so every value where all are equal.
    Among ten values or fewer none lies beyond the border.
    """
    if not values:
        return []
    middle, most = mean(values), 3 * pstdev(values)
    return [value for value in values if abs(value - middle) <= most]
