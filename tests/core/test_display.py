"""What people read shows the control characters of data, obeys none, and holds no secret."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from stages.core.display import page_value, show, visible, visible_line
from tests import ROOT

KEY = "sk-a-secret-of-this-test"
CONTROLS = [
    *(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"),
    *"\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff",
    "\ud83d", "\udc80", "\U000e0041",
]  # fmt: skip


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_a_control_character_is_shown_as_its_escape(control: str) -> None:
    escape = control.encode("unicode_escape").decode()
    assert visible(f"a{control}b") == visible_line(f"a{control}b") == f"a{escape}b"


def test_tabs_and_line_ends_stay_in_a_text_and_not_in_a_line() -> None:
    assert visible("a\tb\nc\r\n") == "a\tb\nc\\r\n"
    assert visible_line("a\tb\nc") == "a\\tb\\nc"


@pytest.mark.parametrize(
    "text", ["naïve – 東京 🦊 👩\u200d🚀 می\u200cروم שלום", "SELECT '\\x1b' -- \\u202e", "a\u00a0b"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == visible_line(text) == text


@given(st.text())
def test_what_is_visible_can_be_printed_and_stays_as_it_is(text: str) -> None:
    line = visible_line(text)
    line.encode()
    assert len(line.splitlines()) <= 1 and visible_line(line) == line


def test_a_page_shows_escapes_and_still_no_markup() -> None:
    page = Environment(autoescape=True, finalize=page_value).from_string("<p>{{ text }} {{ number }}</p>")
    assert page.render(text="<b>\x1b[2J\u202e", number=3) == "<p>&lt;b&gt;\\x1b[2J\\u202e 3</p>"


def test_what_is_printed_obeys_nothing_and_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    stream = io.StringIO()
    show(f"a\x1b[2J\n{KEY}", stream)
    assert stream.getvalue() == "a\\x1b[2J\n…\n"


def test_data_that_the_user_asked_to_see_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    stream = io.StringIO()
    show(f"cookie: 5 http://a:b@x.org\x1b[2J {KEY}", stream, secrets=False)
    assert stream.getvalue() == f"cookie: 5 http://a:b@x.org\\x1b[2J {KEY}\n"


FAILURES = {
    "a mistake of the user": "raise UserError(f'{text}\\nerror: another')",
    "a failure of a library": "raise ZeroDivisionError(text)",
    "a failure of a thread": "import threading; thread = threading.Thread(target=lambda: {}[text]); thread.start()",
    "a line of a library's log": "import logging; logging.getLogger('huggingface_hub').warning('%s', text)",
    "a traceback of a library's log": "import logging\ntry: {}[text]\nexcept KeyError: logging.exception('failed')",
}


@pytest.mark.parametrize("code", FAILURES.values(), ids=FAILURES)
def test_nothing_that_a_stage_ends_with_holds_a_secret_or_an_escape_sequence(code: str) -> None:
    lines = "\n".join(f"    {line}" for line in code.splitlines())
    program = f"""
import os
from stages.core.errors import UserError, run_stage
def main():
    text = "\\x1b[2J \\u202e at " + os.environ["OPENAI_API_KEY"]
{lines}
run_stage(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "OPENAI_API_KEY": KEY}, cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert "[2J" in done.stderr and "…" in done.stderr
    assert not any(one in done.stderr for one in ("\x1b", "\u202e", KEY[:8], KEY[-8:]))
    assert code != FAILURES["a mistake of the user"] or len(done.stderr.splitlines()) == 1


def test_every_stage_prints_by_show() -> None:
    calls = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "stages").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stderr.write", "sys.stdout.write")
    }
    assert {call.partition(":")[0] for call in calls} == {"stages/core/display.py"}, calls


def test_every_page_shows_values_by_page_value() -> None:
    for path in (ROOT / "stages").rglob("*.py"):
        for node in ast.walk(ast.parse(Path(path).read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Environment":
                finalizes = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "finalize"]
                assert finalizes == ["page_value"], path
