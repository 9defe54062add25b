"""Texts that try to be more than text on a page, and what a page's HTML is made of."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

from stages.core.display import visible

HOSTILE = (
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus='alert(1)", "javascript:alert(1)", "a\u2028b", "a\u202eb", "</pre></title></style><b>", "<!--",
    "{{ 7 * 7 }}{% raw %}", "&lt;b&gt;",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """`elements`: each start tag with the names of its attributes; `values`: those of all attributes; `texts`: what
    stands between tags; `links`: where links lead."""

    elements: list[tuple[str, ...]] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


def parsed(html: str) -> Page:
    page = Page()

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert not any(name == "style" or name.startswith("on") for name, _ in attrs), attrs
            page.elements.append((tag, *(name for name, _ in attrs)))
            page.values.extend(value or "" for _, value in attrs)
            page.links.extend(value or "" for name, value in attrs if name in ("href", "src"))

        def handle_data(self, data: str) -> None:
            page.texts.append(data)

        def handle_comment(self, data: str) -> None:
            raise AssertionError(f"a comment: {data}")

    parser = Parser()
    parser.feed(html)
    parser.close()
    return page


def texts_of(html: str, text: str) -> int:
    """How often a page shows a text."""
    return "".join(parsed(html).texts).count(visible(text))
