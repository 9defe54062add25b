"""A comparison as an HTML page."""

from collections.abc import Callable
from pathlib import Path

from stages.core.html import render_page
from stages.diffing import formatting
from stages.diffing.comparison import Comparison
from stages.diffing.rows import EXAMPLES

_TEMPLATE = Path(__file__).with_name("page.html")
_LONGEST = 600  # characters of a value in an example
_FILTERS: dict[str, Callable[..., object]] = {
    "counts": formatting.counts, "column_notes": formatting.column_notes,
    "version_label": formatting.version_label, "figure": formatting.figure, "difference": formatting.difference,
    "interval": formatting.interval, "param_value": formatting.param_value,
    "changed_inputs": formatting.changed_inputs,
}  # fmt: skip


def page_of(comparison: Comparison) -> str:
    """Returns the page."""
    differing = {file: formatting.differing(metrics) for file, metrics in (comparison.metrics or {}).items()}
    values = {
        "comparison": comparison, "most_keys": EXAMPLES, "evaluations": formatting.evaluations(comparison),
        "reasons": formatting.reason_meanings(comparison), "labels": formatting.label_summary(comparison),
        "stale": formatting.STALE, "metrics": {file: metrics for file, metrics in differing.items() if metrics},
    }  # fmt: skip
    return render_page(_TEMPLATE, values, **_FILTERS, cut=_cut)


def _cut(text: str | None) -> str:
    if text is None:
        return "NULL"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
