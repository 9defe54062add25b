"""Formats versions, numbers and counts of a comparison, for the terminal, the page and the changelog."""

import json

from stages.diffing.comparison import Comparison
from stages.diffing.flip_reasons import REASONS
from stages.diffing.metrics import INTERVAL, Metric
from stages.diffing.rows import RowsDiff
from stages.diffing.versions import Version

STALE = "stale, as their inputs changed since they ran"
"""What is said of the stages in `Version.stale`."""

_MOST_INPUTS = 2  # of a stale stage, that are shown; the JSON has all


def figure(number: float | None) -> str:
    """A count as `1,234`, any other number with six digits; a dash for None."""
    if number is None:
        return "–"
    return f"{number:,}" if isinstance(number, int) else f"{number:.6g}"


def difference(metric: Metric) -> str:
    """New less old, with its sign; empty where a version lacks the metric."""
    change = metric.difference
    if change is None:
        return ""
    return f"{change:+,}" if isinstance(change, int) else f"{change:+.6g}"


def version_label(version: Version) -> str:
    """A version's name, and the beginning of its commit unless that is the name."""
    commit = version.commit[:7] if version.commit else ""
    return f"{version.name} ({commit})" if commit and not version.name.startswith(commit) else version.name


def interval(metrics: dict[str, Metric], side: str) -> str:
    """EX in per cent with its interval; `side` is `old` or `new`. A dash where that version has none."""
    ex, low, high = (getattr(metrics[name], side) for name in INTERVAL)
    return "–" if None in (ex, low, high) else f"{100 * ex:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def evaluations(comparison: Comparison) -> dict[str, dict[str, Metric]]:
    """The metrics files that are the evaluation of a model."""
    files = (comparison.metrics or {}).items()
    return {file: metrics for file, metrics in files if set(INTERVAL) <= set(metrics)}


def param_value(values: dict[str, object], side: str) -> str:
    """The value of a param on a side, as JSON; a dash where that version lacks it."""
    return json.dumps(values[side], ensure_ascii=False) if side in values else "–"


def changed_inputs(version: Version) -> dict[str, str]:
    """Each stale stage of a version with the first of its inputs that changed."""
    return {
        stage: ", ".join(inputs[:_MOST_INPUTS])
        + (f" and {len(inputs) - _MOST_INPUTS} more" if inputs[_MOST_INPUTS:] else "")
        for stage, inputs in version.stale.items()
    }


def counts(diff: RowsDiff) -> tuple[str, str, str]:
    """Rows added, removed and changed; dashes where only one version has the dataset."""
    if diff.old is None or diff.new is None:
        return "–", "–", "–"
    return figure(diff.added), figure(diff.removed), figure(diff.changed)


def column_notes(diff: RowsDiff) -> list[str]:
    """The columns with changed values, those that only one version has, and those with another type."""
    if diff.old is None or diff.new is None:
        return ["only in new" if diff.old is None else "only in old"]
    notes = [f"{name} {figure(number)}" for name, number in diff.changed_columns.items()]
    notes += [f"column {name} only in new" for name in diff.columns_added]
    notes += [f"column {name} only in old" for name in diff.columns_removed]
    return notes + [f"{name} was {types[0]}, is {types[1]}" for name, types in diff.retyped.items()]


def differing(metrics: dict[str, Metric]) -> dict[str, Metric]:
    """The metrics that differ."""
    return {name: metric for name, metric in metrics.items() if metric.old != metric.new}


def label_summary(comparison: Comparison) -> str:
    """How many labels flip, as a sentence without its full stop."""
    flips = comparison.flips
    if flips is None:
        return "not known of both versions"
    if not flips.candidates_in_both:
        return "no candidate is in both versions"
    return f"{figure(flips.flipped)} of {figure(flips.candidates_in_both)} candidates in both have another verdict"


def reason_meanings(comparison: Comparison) -> dict[str, str]:
    """The reasons of flips that occur, each with its meaning."""
    combinations = comparison.flips.reasons if comparison.flips else ()
    occurring = {reason for combination in combinations for reason in combination.split(" + ")}
    return {reason: meaning for reason, meaning in REASONS.items() if reason in occurring}
