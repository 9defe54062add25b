"""One look for all HTML pages. A page is one file: its styles and scripts are in it, and it loads nothing else.

A template extends `base.html`, which has the same head for every page and these blocks: `title`, `style` (more CSS),
`nav` (links to other pages), `main`, `script` (a whole `<script>` element, `<script>{% include "page.js" %}</script>`
for the filter of a list). `parts.html` has macros. What is included is read as a template too, so `{{`, `{%` and `{#`
may not stand in it.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.core.display import page_value

_CHARSET = '<meta charset="utf-8">'
_INLINE = re.compile(r"<(style|script)([^>]*)>(.*?)</\1>", re.DOTALL)
_DATA = ("application/json", "text/plain")  # types of a <script> that is never run


def render_page(
    template: Path, values: Mapping[str, Any], served: bool = False, **filters: Callable[..., object]
) -> str:
    """Returns the page as HTML. Every value is text in it, whatever it holds.

    The page states a Content-Security-Policy, which allows only the inline scripts and styles listed by hash. It may
    connect to nothing, or to where it comes from if `served`. So no element has a `style` or an `on…` attribute. Raises
    ValueError where the template has no `<meta charset>`, behind which the policy stands.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]), autoescape=True,
        undefined=StrictUndefined, finalize=page_value, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= filters
    page = environment.get_template(template.name).render(values)
    head, charset, rest = page.partition(_CHARSET)
    if not charset:
        raise ValueError(f"{template} has no {_CHARSET}")
    return f'{head}{charset}\n<meta http-equiv="Content-Security-Policy" content="{_policy(rest, served)}">{rest}'


def _policy(page: str, served: bool) -> str:
    texts: dict[str, list[str]] = {"style": [], "script": []}
    for element, attributes, text in _INLINE.findall(page):
        if not any(f'type="{kind}"' in attributes for kind in _DATA):
            texts[element].append(text)
    directives = ["default-src 'none'", *(f"{element}-src {_hashes(inline)}" for element, inline in texts.items())]
    directives += ["connect-src 'self'"] if served else []
    return "; ".join([*directives, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _hashes(texts: Iterable[str]) -> str:
    digests = (b64encode(sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
