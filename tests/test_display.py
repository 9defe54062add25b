"""Control characters of data are shown escaped, on terminals and on pages."""

import subprocess
import sys
from pathlib import Path

import pytest

from stages.audit_report import page_of
from stages.display import page_value, visible, visible_line
from tests.test_audit_report import COUNTS, tables

ROOT = Path(__file__).parents[1]
ODD = {
    "escape sequence": "\x1b[2Jred", "bell": "\a", "carriage return": "right\rwrong", "backspace": "a\b",
    "delete": "\x7f", "C1": "\x9b31m", "right to left": "\u202eabc", "isolate": "\u2066a\u2069", "mark": "\u200f",
    "Arabic mark": "\u061c", "zero width": "a\u200bb", "line separator": "a\u2028b", "byte order mark": "\ufeffa",
    "half a pair": "\ud800", "tag letters": "\U000e0041",
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_a_control_character_is_escaped(name: str) -> None:
    shown = visible(ODD[name])
    assert shown.isprintable() and "\\" in shown
    assert page_value(ODD[name]) == shown


@pytest.mark.parametrize("text", ["a\tb\nc", "naïve 名字 שלום سلام", "👩\u200d💻 می\u200cخواهم", "SELECT '\\x1b'"])
def test_what_people_write_stays(text: str) -> None:
    assert visible(text) == text


def test_a_line_stays_one_line() -> None:
    assert visible_line("a\nb\tc") == "a\\nb\\tc"


def test_a_mistake_that_quotes_data_is_printed_escaped() -> None:
    program = (
        "from stages.errors import UserError, run_stage\n"
        "def main() -> None:\n    raise UserError('the file \\x1b[31m\\u202eevil\\nfile.json is odd')\nrun_stage(main)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: the file \\x1b[31m\\u202eevil\\nfile.json is odd\n")


def test_a_traceback_shows_no_key_and_no_escape_sequence() -> None:
    program = (
        "from stages.errors import run_stage\n"
        "def main() -> None:\n    raise AssertionError('\\x1b[31m Bearer sk-abcdefghijklmnopqrstuvwx')\nrun_stage(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True,
        env={"OPENAI_API_KEY": "sk-abcdefghijklmnopqrstuvwx"},
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert "\x1b" not in done.stderr and "abcdefghijkl" not in done.stderr


def test_the_page_of_the_gold_audit_shows_a_question_escaped() -> None:
    page = page_of(*tables(["empty"], text="\u202eevil \x1b[31m <b>"), COUNTS)
    assert "\u202e" not in page and "\x1b" not in page and "\\u202eevil \\x1b[31m &lt;b&gt;" in page
