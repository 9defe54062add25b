"""One look for all HTML pages. A page is one file: its stylesheet is in it, and it loads nothing from elsewhere.

A template includes the stylesheet with `{% include "page.css" %}`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.core.display import page_value


def render_page(template: Path, values: Mapping[str, Any], **filters: Callable[..., object]) -> str:
    """Returns the page as HTML. Every value is text in it, whatever it holds."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]), autoescape=True,
        undefined=StrictUndefined, finalize=page_value, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= filters
    return environment.get_template(template.name).render(values)
