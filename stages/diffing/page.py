"""A comparison as an HTML page."""

from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup

from stages.diffing import formatting
from stages.diffing.comparison import Comparison
from stages.diffing.row_examples import row_examples
from stages.diffing.rows import EXAMPLES
from stages.pages.html import render_page
from stages.pages.text_diff import marked, shortened


def page_of(comparison: Comparison) -> str:
    """Returns the page. Raises UserError where a file that it shows rows of is damaged."""
    differing = {file: formatting.differing(metrics) for file, metrics in (comparison.metrics or {}).items()}
    values = {
        "comparison": comparison, "examples": row_examples(comparison), "most_examples": EXAMPLES,
        "evaluations": formatting.evaluations(comparison),
        "reasons": formatting.reason_meanings(comparison), "labels": formatting.label_summary(comparison),
        "stale": formatting.STALE, "metrics": {file: metrics for file, metrics in differing.items() if metrics},
    }  # fmt: skip
    return render_page(_TEMPLATE, values, served=False, **_FILTERS)


def _shortened(text: str | None) -> Markup:
    return _NULL if text is None else shortened(text)


def _marked(old: str | None, new: str | None, tags: tuple[str, str] = ("del", "ins")) -> tuple[Markup, Markup]:
    if old is None or new is None:
        return _shortened(old), _shortened(new)
    return marked(old, new, tags)


_TEMPLATE = Path(__file__).with_name("page.html")
_NULL = Markup('<span class="soft">NULL</span>')
_FILTERS: dict[str, Callable[..., object]] = {
    "counts": formatting.counts, "column_notes": formatting.column_notes,
    "version_label": formatting.version_label, "figure": formatting.figure, "difference": formatting.difference,
    "interval": formatting.interval, "param_value": formatting.param_value,
    "changed_inputs": formatting.changed_inputs, "shortened": _shortened, "marked": _marked,
}  # fmt: skip
