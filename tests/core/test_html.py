"""Every page has the same stylesheet in it, and shows values as text."""

from pathlib import Path

from stages.core.html import render_page


def test_a_page_holds_the_stylesheet_and_shows_values_as_text(tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text('<style>\n{% include "page.css" %}\n</style>\n<p>{{ text | upper_case }}</p>\n')
    page = render_page(template, {"text": "<b>\u202e"}, upper_case=str.upper)
    assert "--ink: " in page and page.endswith("</style>\n<p>&lt;B&gt;\\u202e</p>")
