"""What became of verdicts and rewards in a training, from the steps that it logged."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from stages.datasets.verdicts import VERDICTS
from stages.rewards.execution import ACCIDENT

Window = tuple[Mapping[str, Any], int]
"""Means over steps that follow each other, and how many steps."""


def windows_of(history: Sequence[Mapping[str, Any]]) -> list[Window]:
    """The logged windows: each entry with the steps since the entry before it."""
    steps = [0, *(int(entry["step"]) for entry in history)]
    return [(entry, after - before) for entry, (before, after) in zip(history, pairwise(steps), strict=True)]


def verdict_report(history: Sequence[Mapping[str, Any]], completions: int, groups: int) -> dict[str, Any]:
    """The mean reward and the share of each verdict in the first and the last tenth of the logged windows, of two at
    least: the first step is a window of its own. And counts over the whole training.

    `completions`, `groups`: those of one step. `equal_rewards`: groups whose completions all had the same reward, and
    so taught nothing.
    """
    windows = windows_of(history)
    tenth = max(2, len(windows) // 10)
    parts = {"first": windows[:tenth], "last": windows[-tenth:]}

    def total(name: str, each: int) -> int:
        count: int = round(sum((entry.get(name) or 0.0) * steps * each for entry, steps in windows))
        return count

    report: dict[str, Any] = {
        "completions": completions * sum(steps for _, steps in windows),
        "reward": {name: _mean(part, "reward") for name, part in parts.items()},
        "verdicts": {
            name: {verdict: _mean(part, f"verdicts/{verdict}") for verdict in VERDICTS} for name, part in parts.items()
        },
        "undecided": total("verdicts/undecided", completions),
        "groups": groups * sum(steps for _, steps in windows),
        "equal_rewards": total("frac_reward_zero_std", groups),
    }
    return report | ({ACCIDENT: total(ACCIDENT, completions)} if ACCIDENT in history[0] else {})


def _mean(windows: Sequence[Window], name: str) -> float | None:
    """The mean of a metric over the steps that have it."""
    values = [(entry[name], steps) for entry, steps in windows if entry.get(name) is not None]
    if not values:
        return None
    mean: float = round(sum(value * steps for value, steps in values) / sum(steps for _, steps in values), 4)
    return mean
