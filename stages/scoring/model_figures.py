"""The figures of an evaluation, as JSON and as a table for people."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from stages.core.display import visible_line
from stages.datasets.difficulties import by_difficulty
from stages.datasets.verdicts import VERDICTS
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.judge import Outcome
from stages.scoring.metrics import bootstrap_interval, majority_at_k, pass_at_k


def greedy_figures(
    difficulties: Sequence[str], greedy: Sequence[Outcome], seed: int, resamples: int
) -> dict[str, Any]:
    """EX (share of questions whose greedy query matches) with its 95 % bootstrap interval, under each contract, per
    difficulty; verdict counts."""
    right = [float(outcome.verdict == "match") for outcome in greedy]
    low, high = bootstrap_interval(right, seed, resamples)
    verdicts = Counter(outcome.verdict for outcome in greedy)
    return {
        "ex": round(_mean(right), 4),
        "ex_low": round(low, 4),
        "ex_high": round(high, 4),
        "ex_contract": {
            name: round(_mean([outcome.under(name) == "match" for outcome in greedy]), 4) for name in CONTRACT_NAMES
        },
        "ex_difficulty": {
            name: round(_mean([hit for hit, level in zip(right, difficulties, strict=True) if level == name]), 4)
            for name in sorted(set(difficulties), key=by_difficulty)
        },
        "verdicts": {verdict: verdicts[verdict] for verdict in VERDICTS},
    }


def sample_figures(sampled: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
    """pass@k and maj@k of n samples a question, for the powers of two up to n."""
    n = len(sampled[0])
    ks = [2**power for power in range(n.bit_length())]
    votes = [[(outcome.verdict, outcome.digest) for outcome in row] for row in sampled]
    matches = [sum(outcome.verdict == "match" for outcome in row) for row in sampled]
    return {
        "pass_at": {str(k): round(_mean([pass_at_k(n, count, k) for count in matches]), 4) for k in ks},
        "maj_at": {str(k): round(_mean([majority_at_k(row, k) for row in votes]), 4) for k in ks},
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def table(metrics: dict[str, Any]) -> str:
    """The figures for people, in per cent, a line each."""
    lines = [f"{'questions':<12}{metrics['questions']:>8}"]
    if "ex" in metrics:
        low, high = 100 * metrics["ex_low"], 100 * metrics["ex_high"]
        lines.append(f"{'EX':<12}{100 * metrics['ex']:>8.2f}  ({low:.2f}–{high:.2f})")
        lines += [f"EX {name:<9}{100 * share:>8.2f}" for name, share in metrics["ex_contract"].items()]
        lines += [f"EX {name:<9}{100 * share:>8.2f}" for name, share in metrics["ex_difficulty"].items()]
        told = ", ".join(f"{count} {verdict}" for verdict, count in metrics["verdicts"].items() if count)
        lines.append(f"verdicts: {told}")
    for name, title in (("pass_at", "pass@"), ("maj_at", "maj@")):
        lines += [f"{title + k:<12}{100 * share:>8.2f}" for k, share in metrics.get(name, {}).items()]
    told = ", ".join(f"{count} {reason}" for reason, count in metrics["dropped"].items() if count)
    lines += [f"left out: {told}"] if told else []
    long = metrics["longer_than_context"]
    lines += [f"{long} prompts do not fit the model's context, and count as wrong"] if long else []
    return "\n".join(map(visible_line, lines))
