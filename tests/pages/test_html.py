"""Every page has the same head, shows values as text, and runs and loads nothing but what it was made with."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from stages.pages.html import render_page

PAGE = '{% extends "base.html" %}{% block title %}{{ text }}{% endblock %}{% block main %}{% endblock %}'


def rendered(folder: Path, template: str, served: bool = False, **values: str) -> str:
    (folder / "a.html").write_text(template)
    return render_page(folder / "a.html", values, served)


def policy_of(page: str) -> dict[str, str]:
    (policy,) = re.findall('<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    return dict(directive.split(" ", 1) for directive in policy.split("; "))


def hash_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_a_page_has_the_head_and_the_styles_of_all_pages_and_shows_values_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE.replace("{{ text }}", "{{ text | upper_case }}"))
    page = render_page(tmp_path / "a.html", {"text": "<b>\u202e"}, upper_case=str.upper)
    assert "<title>&lt;B&gt;\\u202e</title>" in page and "--ink: " in page and 'name="viewport"' in page


def test_the_policy_allows_no_more_than_the_styles_and_scripts_of_the_page(tmp_path: Path) -> None:
    script = '{% block script %}<script>1;\n</script><script>"{{ text }}</script>{% endblock %}'
    page = rendered(tmp_path, PAGE + script, text="é<")
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert policy_of(page) == {
        "default-src": "'none'", "style-src": hash_of(style), "img-src": "data:", "base-uri": "'none'",
        "script-src": f"{hash_of('1;' + chr(10))} {hash_of(chr(34) + 'é&lt;')}", "form-action": "'none'",
    }  # fmt: skip
    assert page.index("Content-Security-Policy") < page.index("<title>")


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_data_in_a_script_element_is_not_allowed_to_run(tmp_path: Path, kind: str) -> None:
    page = rendered(
        tmp_path, PAGE + f'{{% block script %}}<script type="{kind}" id="x">1</script>{{% endblock %}}', text=""
    )
    assert policy_of(page)["script-src"] == "'none'"


def test_a_page_that_is_served_may_ask_its_own_server(tmp_path: Path) -> None:
    assert policy_of(rendered(tmp_path, PAGE, served=True, text=""))["connect-src"] == "'self'"
    assert "connect-src" not in policy_of(rendered(tmp_path, PAGE, text=""))


def test_a_value_that_looks_like_a_style_gets_no_hash(tmp_path: Path) -> None:
    page = rendered(tmp_path, PAGE, text="<style>x</style><script>y</script>")
    assert hash_of("x") not in page and policy_of(page)["script-src"] == "'none'"


def test_a_page_without_a_place_for_its_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.html has no <meta charset"):
        rendered(tmp_path, "<p>x</p>")


def test_a_verdict_is_a_chip_and_what_is_wide_scrolls_by_keys(tmp_path: Path) -> None:
    parts = '{% from "parts.html" import verdict, wide %}<meta charset="utf-8">'
    body = '{% call wide("a \\"b") %}{% for name in ("match", text) %}{{ verdict(name) }}{% endfor %}{% endcall %}'
    page = rendered(tmp_path, parts + body, text="<i>")
    assert '<div class="wide" tabindex="0" role="region" aria-label="a &#34;b">' in page
    assert '<span class="chip good">match</span><span class="chip warn">&lt;i&gt;</span>' in page
