import os
import re
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path

import pytest

from stages.core import progress as module
from stages.core.progress import number_text, progress


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(module, "BAR_SECONDS", 0.01)


@contextmanager
def terminal(columns: int = 120) -> Iterator[Callable[[], str]]:
    """A pseudo terminal as stderr; gives all that was written to it so far."""
    main, side = os.openpty()
    os.set_blocking(main, False)
    termios.tcsetwinsize(side, (30, columns))
    text = ""

    def read() -> str:
        nonlocal text
        with suppress(BlockingIOError):
            text += os.read(main, 100_000).decode(errors="replace")
        return text

    with os.fdopen(side, "w") as stderr, redirect_stderr(stderr):
        yield read
    os.close(main)


@contextmanager
def pipe(path: Path) -> Iterator[Callable[[], str]]:
    """The file `path` as stderr; gives what it holds."""
    with path.open("w") as stderr, redirect_stderr(stderr):
        yield path.read_text


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def wait_for(part: str, read: Callable[[], str]) -> str:
    end = time.monotonic() + 5
    while part not in (text := read()):
        assert time.monotonic() < end, f"no {part!r} in {text!r}"
        time.sleep(0.005)
    return text


def test_on_a_terminal_it_is_a_bar_that_goes_when_the_work_is_done() -> None:
    with terminal() as read:
        with progress("pairs", 40, "candidates") as bar:
            bar.update(10)
            text = wait_for("pairs: 25 %|", read)
            assert "10 of 40" in text and " candidates/s, " in text and " left" in text and "\n" not in text
        assert read().endswith("\r") and read().rstrip("\r").endswith(" ")


@pytest.mark.parametrize(("columns", "label"), [(60, "pairs"), (80, "executing candidates (41,314 cached)")])
def test_a_terminal_without_room_for_the_graphic_shows_the_figures(columns: int, label: str) -> None:
    with terminal(columns) as read, progress(label, 56_000, "candidates", initial=41_314) as bar:
        time.sleep(0.1)
        bar.update(10)
        text = next(state for state in wait_for(" left", read).split("\r") if " left" in state)
    assert text.startswith(label[:20]) and len(text) < columns
    assert re.search(r": 41,324 of 56,000, \d+\.?\d* candidates/s, \d\d:\d\d left", text)


def test_the_time_left_never_rises_between_updates() -> None:
    with terminal() as read, progress("pairs", 4_000, "candidates") as bar:
        time.sleep(0.1)
        bar.update(100)  # 3.9 s are left by this rate; the bar is drawn for 1.5 s without an update
        for _ in range(30):
            time.sleep(0.05)
            text = read()
    seconds = [int(left) for left in re.findall(r", 00:(\d\d) left", text)]
    assert len(seconds) > 20 and seconds == sorted(seconds, reverse=True) and seconds[-1] < seconds[0]


@pytest.mark.parametrize(
    ("number", "text"), [(41_338, "41,338"), (8_914.2, "8,910"), (41_338.0, "41,300"), (123.4, "123"), (3.2, "3.2"),
                         (0.01234, "0.0123")],
)  # fmt: skip
def test_counts_have_separators_and_rates_three_digits(number: float, text: str) -> None:
    assert number_text(number) == text


def test_what_is_all_cached_shows_neither_rate_nor_time_left() -> None:
    with terminal() as read, progress("gold", 56_000, "queries", initial=56_000):
        text = wait_for(" 56,000 of 56,000", read)
    assert "queries/s" not in text and "left" not in text and "?" not in text


def test_elsewhere_it_is_plain_lines(log: Path) -> None:
    with pipe(log) as read, progress("pairs", 40, "candidates") as bar:
        bar.update(10)
        wait_for("pairs: 10 of 40, ", read)
        bar.set_postfix_str("loss 0.5", refresh=False)
        text = wait_for(", loss 0.5\n", read)
    assert " candidates/s, 00:00 so far, " in text and " left\n" in text and "\r" not in text


def test_what_is_done_before_the_first_line_is_due_prints_nothing(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 30.0)
    with pipe(log), progress("pairs", 40, "candidates") as bar:
        bar.update(40)
    assert log.read_text() == ""


def test_a_step_that_takes_long_shows_that_time_passes(log: Path) -> None:
    with pipe(log) as read, progress("reading 3 rows", None):
        wait_for("reading 3 rows: 00:00 so far\nreading 3 rows: 00:00 so far\n", read)


def test_what_an_earlier_run_did_counts_as_done_and_not_for_the_rate(log: Path) -> None:
    with pipe(log) as read, progress("training", 100, "steps", initial=60) as bar:
        wait_for("training: 60 of 100, 00:00 so far\n", read)
        assert bar.format_dict["initial"] == bar.n == 60


def test_bytes_have_their_units(log: Path) -> None:
    with pipe(log) as read, progress("a.zip", 60_000_000, "B", initial=30_000_000):
        wait_for("a.zip: 30.0M of 60.0M, ", read)


def test_a_process_that_is_not_the_first_shows_nothing(log: Path) -> None:
    with pipe(log), progress("training", 10, "steps", shown=False) as bar:
        bar.update()
        time.sleep(0.05)
    assert log.read_text() == ""


def test_a_label_cannot_command_the_terminal() -> None:
    with terminal() as read, progress("\x1b[2J.zip", 10, "B"):
        assert "\x1b[2J" not in wait_for("\\x1b[2J.zip", read)


def test_an_error_ends_it(log: Path) -> None:
    with pytest.raises(ValueError, match="broken"), pipe(log) as read, progress("pairs", 40, "candidates"):
        wait_for("pairs", read)
        raise ValueError("broken")
    length = len(log.read_text())
    time.sleep(0.05)
    assert len(log.read_text()) == length


def test_tqdm_is_used_there_alone() -> None:
    users = [path for path in Path(module.__file__).parents[1].rglob("*.py") if "import tqdm" in path.read_text()]
    assert users == [Path(module.__file__)]
