"""A comparison as a page for people: one file without scripts and without anything from elsewhere.

SQL, questions, keys and errors are text to it, whatever they hold.
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.core.display import page_value
from stages.diffing.comparison import Comparison
from stages.diffing.rows import EXAMPLES
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

_TEMPLATE = Path(__file__).with_name("page.html")
_LONGEST = 600  # characters of a value in an example


def page_of(found: Comparison) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE.parent), autoescape=True, undefined=StrictUndefined,
        finalize=page_value, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "count": count, "counts": counts, "notes": notes, "side": side, "figure": figure, "difference": difference,
        "interval": interval, "value": value, "cut": _cut, "reasons_to_run": reasons_to_run,
    }  # fmt: skip
    differ = {file: different(numbers) for file, numbers in (found.metrics or {}).items()}
    return environment.get_template(_TEMPLATE.name).render(
        found=found, most_keys=EXAMPLES, evaluations=evaluations(found), reasons=meanings(found),
        labels=labels(found), stale=STALE,
        metrics={file: numbers for file, numbers in differ.items() if numbers},
    )


def _cut(text: str | None) -> str:
    if text is None:
        return "NULL"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
