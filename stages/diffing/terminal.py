"""A comparison as text for a terminal of 120 columns."""

from collections.abc import Iterator, Sequence

from stages.core.display import visible_line
from stages.diffing import formatting
from stages.diffing.comparison import Comparison
from stages.diffing.formatting import column_notes, counts, difference, figure, interval
from stages.diffing.metrics import Metric
from stages.diffing.rows import EXAMPLES

MOST_SHOWN = 8
"""Metrics of a file, and params, that are shown; the JSON and the page have all."""


def text_of(comparison: Comparison) -> str:
    """Versions, params, stale stages, rows, labels, EX and the metrics that differ."""
    sections = (_versions, _params, _stale, _datasets, _labels, _ex, _metrics)
    texts = ("\n".join(map(visible_line, section(comparison))) for section in sections)
    return "\n\n".join(filter(None, texts))


def aligned(table: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Rows of cells as lines. The first `left` columns and the last are left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [
            cell.ljust(width) if place < left or place == len(row) - 1 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _versions(comparison: Comparison) -> Iterator[str]:
    yield f"old  {formatting.version_label(comparison.old)}"
    yield f"new  {formatting.version_label(comparison.new)}"


def _params(comparison: Comparison) -> Iterator[str]:
    if comparison.params is None:
        yield "params: not known of both, as an export has none"
    elif comparison.params:
        yield "params"
        table = [
            ("", name, f"{formatting.param_value(values, 'old')} -> {formatting.param_value(values, 'new')}")
            for name, values in comparison.params.items()
        ]
        yield from aligned(table[:MOST_SHOWN], 2)
        yield from _more(len(table), "")
    else:
        yield "params: the same"


def _stale(comparison: Comparison) -> Iterator[str]:
    for side, version in (("old", comparison.old), ("new", comparison.new)):
        if version.stale:
            yield f"stages of {side} that are {formatting.STALE}"
            yield from aligned([("", stage, inputs) for stage, inputs in formatting.changed_inputs(version).items()], 2)


def _datasets(comparison: Comparison) -> Iterator[str]:
    head = ("rows", "old", "new", "added", "removed", "changed", "")
    table = [
        (name, figure(diff.old), figure(diff.new), *counts(diff), ", ".join(column_notes(diff)))
        for name, diff in comparison.datasets.items()
    ]
    for name, line in zip(["", *comparison.datasets], aligned([head, *table]), strict=True):
        yield line
        if name:
            diff = comparison.datasets[name]
            kinds = {"added": diff.added_keys, "removed": diff.removed_keys, "changed": diff.changed_keys}
            for kind, keys in kinds.items():
                if keys:
                    yield f"  {kind}: {', '.join(keys[:EXAMPLES])}{', …' if len(keys) > EXAMPLES else ''}"


def _labels(comparison: Comparison) -> Iterator[str]:
    yield f"labels: {formatting.label_summary(comparison)}"
    flips = comparison.flips
    if flips and flips.flipped:
        table = [("", f"{flip.old} -> {flip.new}", figure(flip.count), flip.reasons) for flip in flips.verdicts]
        yield from aligned(table, 2)
        yield from (f"  {reason}: {meaning}" for reason, meaning in formatting.reason_meanings(comparison).items())
        yield f"  pairs with such a candidate: {figure(flips.removed_pairs)} removed, {figure(flips.added_pairs)} added"
    for flip in flips.golds if flips else ():
        yield f"golds: {flip.old} -> {flip.new}  {figure(flip.count)}"


def _ex(comparison: Comparison) -> Iterator[str]:
    table = [
        ("", file, interval(metrics, "old"), interval(metrics, "new"), _points(metrics["ex"]))
        for file, metrics in formatting.evaluations(comparison).items()
    ]
    if table:
        yield from aligned([("EX, per cent", "", "old", "new", ""), *table], 2)


def _points(ex: Metric) -> str:
    return "" if ex.difference is None else f"{100 * ex.difference:+.1f}"


def _metrics(comparison: Comparison) -> Iterator[str]:
    if comparison.metrics is None:
        yield "metrics: not known of both versions"
        return
    files = {file: formatting.differing(metrics) for file, metrics in comparison.metrics.items()}
    total = sum(map(len, comparison.metrics.values()))
    yield f"metrics: {figure(sum(map(len, files.values())))} of {figure(total)} differ"
    for file, metrics in files.items():
        sides = {side for metric in metrics.values() for side in ("old", "new") if getattr(metric, side) is not None}
        if len(sides) == 1:
            yield f"  {file}: only in {sides.pop()}"
        elif metrics:
            yield f"  {file}"
            table = [
                ("  ", name, figure(metric.old), figure(metric.new), difference(metric))
                for name, metric in metrics.items()
            ]
            yield from aligned(table[:MOST_SHOWN], 2)
            yield from _more(len(table), "  ")


def _more(number: int, indent: str) -> Iterator[str]:
    if number > MOST_SHOWN:
        yield f"{indent}  and {number - MOST_SHOWN:,} more; --json and --html have all"
