"""A comparison as text for a terminal of 120 columns."""

from collections.abc import Iterator, Sequence

from stages.core.display import visible_line
from stages.diffing.comparison import Comparison
from stages.diffing.measures import Number
from stages.diffing.rows import EXAMPLES, RowsDiff
from stages.diffing.wording import (
    STALE,
    count,
    counts,
    difference,
    different,
    evaluations,
    figure,
    interval,
    labels,
    meanings,
    notes,
    reasons_to_run,
    side,
    value,
)

MOST_SHOWN = 8
"""Metrics of a file, and params, that are shown; the JSON and the page have all."""


def text_of(found: Comparison) -> str:
    """Sides, params, stale stages, rows, labels, EX and the metrics that differ."""
    parts = (_sides, _params, _stale, _datasets, _labels, _ex, _metrics)
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(map(visible_line, part(found)))))


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Rows of cells as lines, the first `left` columns and the last to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if place < left or place == len(row) - 1 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _sides(found: Comparison) -> Iterator[str]:
    yield f"old  {side(found.old)}"
    yield f"new  {side(found.new)}"


def _params(found: Comparison) -> Iterator[str]:
    if found.params is None:
        yield "params: not known of both, as an export has none"
    elif found.params:
        yield "params"
        rows = [("", name, f"{value(both, 'old')} -> {value(both, 'new')}") for name, both in found.params.items()]
        yield from aligned(rows[:MOST_SHOWN], 2)
        yield from _more(len(rows), "")
    else:
        yield "params: the same"


def _stale(found: Comparison) -> Iterator[str]:
    for which, version in (("old", found.old), ("new", found.new)):
        if version.stale:
            yield f"stages of {which} that are {STALE}"
            yield from aligned([("", stage, reasons) for stage, reasons in reasons_to_run(version).items()], 2)


def _datasets(found: Comparison) -> Iterator[str]:
    head = ("rows", "old", "new", "added", "removed", "changed", "")
    lines = [
        (name, count(rows.old), count(rows.new), *counts(rows), ", ".join(notes(rows)))
        for name, rows in found.datasets.items()
    ]
    for name, line in zip(["", *found.datasets], aligned([head, *lines]), strict=True):
        yield line
        if name:
            yield from _keys(found.datasets[name])


def _keys(rows: RowsDiff) -> Iterator[str]:
    listed = {"added": rows.added_keys, "removed": rows.removed_keys, "changed": rows.changed_keys}
    for kind, keys in listed.items():
        if keys:
            yield f"  {kind}: {', '.join(keys[:EXAMPLES])}{', …' if len(keys) > EXAMPLES else ''}"


def _labels(found: Comparison) -> Iterator[str]:
    yield f"labels: {labels(found)}"
    flips = found.flips
    if flips and flips.flipped:
        rows = [("", f"{one.old} -> {one.new}", count(one.count), one.reasons) for one in flips.verdicts]
        yield from aligned(rows, 2)
        yield from (f"  {name}: {meaning}" for name, meaning in meanings(found).items())
        yield f"  pairs with such a candidate: {count(flips.removed_pairs)} removed, {count(flips.added_pairs)} added"
    for flip in flips.golds if flips else ():
        yield f"golds: {flip.old} -> {flip.new}  {count(flip.count)}"


def _ex(found: Comparison) -> Iterator[str]:
    rows = [
        ("", file, interval(numbers, "old"), interval(numbers, "new"), _points(numbers["ex"]))
        for file, numbers in evaluations(found).items()
    ]
    if rows:
        yield from aligned([("EX, per cent", "", "old", "new", ""), *rows], 2)


def _points(number: Number) -> str:
    return "" if number.difference is None else f"{100 * number.difference:+.1f}"


def _metrics(found: Comparison) -> Iterator[str]:
    if found.metrics is None:
        yield "metrics: not known of both versions"
        return
    differ = {file: different(numbers) for file, numbers in found.metrics.items()}
    yield f"metrics: {count(sum(map(len, differ.values())))} of {count(sum(map(len, found.metrics.values())))} differ"
    for file, numbers in differ.items():
        sides = {name for both in numbers.values() for name in ("old", "new") if getattr(both, name) is not None}
        if len(sides) == 1:
            yield f"  {file}: only in {sides.pop()}"
        elif numbers:
            yield f"  {file}"
            yield from _numbers(numbers)


def _numbers(numbers: dict[str, Number]) -> Iterator[str]:
    rows = [("  ", name, figure(both.old), figure(both.new), difference(both)) for name, both in numbers.items()]
    yield from aligned(rows[:MOST_SHOWN], 2)
    yield from _more(len(rows), "  ")


def _more(rows: int, indent: str) -> Iterator[str]:
    if rows > MOST_SHOWN:
        yield f"{indent}  and {rows - MOST_SHOWN:,} more; --json and --html have all"
