"""What `evaluate` and `score` print: their figures as text for people."""

from collections.abc import Mapping
from typing import Any

from stages.core.display import visible_line
from stages.execution.comparison import CONTRACT_NAMES


def evaluation_table(metrics: dict[str, Any]) -> str:
    """The figures of `evaluate` in per cent, a line each."""
    lines = [f"{'questions':<12}{metrics['questions']:>8}"]
    if "ex" in metrics:
        low, high = 100 * metrics["ex_low"], 100 * metrics["ex_high"]
        lines.append(f"{'EX':<12}{100 * metrics['ex']:>8.2f}  ({low:.2f}–{high:.2f})")
        lines += [f"EX {name:<9}{100 * share:>8.2f}" for name, share in metrics["ex_contract"].items()]
        lines += [f"EX {name:<9}{100 * share:>8.2f}" for name, share in metrics["ex_difficulty"].items()]
        lines.append(f"verdicts: {_counts(metrics['verdicts'])}")
    if "sampled_questions" in metrics:
        lines.append(f"{'sampled':<12}{metrics['sampled_questions']:>8}")
    for name, title in (("pass_at", "pass@"), ("maj_at", "maj@")):
        lines += [f"{title + k:<12}{100 * share:>8.2f}" for k, share in metrics.get(name, {}).items()]
    dropped = _counts(metrics["dropped"])
    lines += [f"left out: {dropped}"] if dropped else []
    long = metrics["longer_than_context"]
    lines += [f"{long} prompts do not fit the model's context, and count as wrong"] if long else []
    return "\n".join(map(visible_line, lines))


def score_table(metrics: dict[str, Any], contract: str) -> str:
    """What `score` prints: EX per difficulty and contract in per cent, of all with its 95 % interval, the verdicts, and
    what else was measured."""
    levels = list(metrics["ex_difficulty"])
    whole = {**metrics["ex"], "questions": metrics["questions"]}
    groups = [*(metrics["ex_difficulty"][level] for level in levels), whole]
    rows = [["", *levels, "all"], ["questions", *(str(group["questions"]) for group in groups)]]
    rows += [[f"EX {name}", *(_percent(group[name]) for group in groups)] for name in CONTRACT_NAMES]
    width = max(len(cell) for row in rows for cell in row[1:]) + 2
    lines = ["".join([row[0].ljust(11), *(cell.rjust(width) for cell in row[1:])]).rstrip() for row in rows]
    for place, rule in enumerate(CONTRACT_NAMES, len(rows) - len(CONTRACT_NAMES)):
        lines[place] += f"  ({_percent(metrics['ex_low'][rule])}–{_percent(metrics['ex_high'][rule])})"
    lines.append(f"verdicts of {metrics['predictions']} predictions ({contract}): {_counts(metrics['verdicts'])}")
    if "soft_f1" in metrics:
        lines.append(f"Soft F1: {_percent(metrics['soft_f1'])}")
    titles = {"ves": "VES", "r_ves": "R-VES", "ts": "TS", "ex_survived": "EX that survives"}
    lines += [f"{title} ({contract}): {_percent(metrics[name])}" for name, title in titles.items() if name in metrics]
    for name, title in (("pass_at", "pass@k"), ("maj_at", "maj@k")):
        if name in metrics:
            shares = ", ".join(f"{k}: {_percent(share)}" for k, share in metrics[name].items())
            lines.append(f"{title} ({contract}): {shares}")
    return "\n".join(map(visible_line, lines))


def _percent(share: float) -> str:
    """The four decimals of a share, none rounded again."""
    return f"{100 * share:.2f}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
