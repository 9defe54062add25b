"""The figures of two models on the same questions."""

from collections.abc import Sequence
from typing import Any

from stages.scoring.intervals import mcnemar_p, mean_interval, paired_difference


def paired_figures(a: Sequence[bool], b: Sequence[bool], seed: int, resamples: int) -> dict[str, Any]:
    """What two models, `a` and `b`, have right of the same questions, one value each, in the same order.

    `ex_a`, `ex_b` and `difference` (of b from a, paired) with `_low` and `_high`, their 95 % bootstrap intervals over
    questions: shares of four decimals. `won`: questions that b alone has right, `lost`: that a alone has. `p_value`: of
    McNemar's exact test of these two. Raises ValueError where there are no questions, or not as many of both.
    """
    right_a, right_b = list(map(float, a)), list(map(float, b))
    won, lost = (sum(map(int.__gt__, *pair)) for pair in ((b, a), (a, b)))
    both = sum(map(int.__and__, a, b))
    estimates = {
        "ex_a": mean_interval(right_a, seed, resamples),
        "ex_b": mean_interval(right_b, seed, resamples),
        "difference": paired_difference(right_b, right_a, seed, resamples),
    }
    shares = {
        f"{name}{end}": round(value, 4)
        for name, estimate in estimates.items()
        for end, value in zip(("", "_low", "_high"), estimate, strict=True)
    }
    counts = {"won": won, "lost": lost, "both_right": both, "both_wrong": len(right_a) - won - lost - both}
    return {"questions": len(right_a), **shares, **counts, "p_value": float(f"{mcnemar_p(won, lost):.4g}")}
