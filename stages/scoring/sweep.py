"""The figures of a sweep: EX of each experiment on one test set, and its paired difference from the baseline."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from stages.scoring.intervals import paired_difference


@dataclass(frozen=True)
class Setting:
    """An experiment, or the baseline. `params`: dotted name to value. `pairs`: rows of that dataset. `right`: columns
    question_id and right, whether the greedy answer matches; sorted by question."""

    name: str
    params: Mapping[str, object]
    pairs: int
    right: pl.DataFrame


def sweep_figures(settings: Sequence[Setting], seed: int, resamples: int) -> dict[str, Any]:
    """The figures of the settings, in per cent, the first of which is the baseline; the others are sorted by params.

    `params`: those that differ between the settings. `difference`: from the baseline, on the same questions, with its
    95 % bootstrap interval over questions. Raises ValueError where a setting has other questions.
    """
    baseline, names = settings[0], _different_params(settings)
    others = sorted(settings[1:], key=lambda setting: [_order(setting.params.get(name)) for name in names])
    return {
        "baseline": baseline.name,
        "questions": baseline.right.height,
        "settings": {
            setting.name: {
                "params": {name: setting.params.get(name) for name in names},
                "pairs": setting.pairs,
                **_figures(setting.right, baseline.right, seed, resamples),
            }
            for setting in (baseline, *others)
        },
    }


def _different_params(settings: Sequence[Setting]) -> list[str]:
    names = dict.fromkeys(name for setting in settings for name in setting.params)
    return [name for name in names if len({_written(setting.params.get(name)) for setting in settings}) > 1]


def _written(value: object) -> str:
    """A value as it is in params.yaml, where lists are in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _order(value: object) -> tuple[bool, float, str]:
    """Numbers stand before other values."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return not number, float(str(value)) if number else 0.0, _written(value)


def _figures(right: pl.DataFrame, baseline: pl.DataFrame, seed: int, resamples: int) -> dict[str, Any]:
    if not right["question_id"].equals(baseline["question_id"]):
        raise ValueError("only answers to the same questions can be compared")
    shares, base = (frame["right"].cast(pl.Float64).to_list() for frame in (right, baseline))
    difference = paired_difference(shares, base, seed, resamples)
    return {"ex": _percent(sum(shares) / len(shares)), "difference": [_percent(value) for value in difference]}


def _percent(share: float) -> float:
    return round(100 * share, 1)


def sweep_table(figures: Mapping[str, Any]) -> str:
    """The figures, with their model and test set, as a Markdown table: a row for each setting, the baseline first."""
    settings = figures["settings"]
    ex = f"EX of {figures['model']}, {figures['test_set']} ({figures['questions']:,})"
    names = list(settings[figures["baseline"]]["params"])
    heads = ["experiment", *(f"`{name}`" for name in names), "pairs", ex, f"difference from {figures['baseline']}"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, setting in settings.items():
        difference, low, high = setting["difference"]
        shown = "" if name == figures["baseline"] else f"{difference:+.1f} ({low:+.1f} to {high:+.1f})"
        values = [_written(value) for value in setting["params"].values()]
        cells = [name, *values, f"{setting['pairs']:,}", f"{setting['ex']:.1f}", shown]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
