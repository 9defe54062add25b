"""Text on terminals and pages: control characters are escaped, and secrets are hidden.

A question, a query, a file name or an answer of a server may hold escape sequences, which a terminal obeys, or marks
that reverse the direction of text. Both would show another text than the data. Files for programs (Parquet, JSON) hold
the data as it is.
"""

import logging
import os
import re
import sys
import threading
from traceback import format_exception
from types import TracebackType
from typing import Any, TextIO

from stages.core.redaction import redact

# C0 and C1 controls, marks of direction, invisible characters, line breaks, halves of surrogate pairs. Not the joiners
# U+200C and U+200D, which Persian, Hindi and emoji need.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINE_CONTROLS = re.compile(f"[\t\n{_CONTROLS.pattern[1:]}")


def visible(text: str) -> str:
    """`text` with its control characters escaped as in Python (`\\x1b`, `\\u202e`); tabs and line ends stay."""
    return _CONTROLS.sub(_escaped, text)


def visible_line(text: str) -> str:
    """The same for a text that must stay one line: tabs and line ends are escaped too."""
    return _LINE_CONTROLS.sub(_escaped, text)


def page_value(value: object) -> object:
    """The `finalize` of every Jinja environment: texts by `visible`, other values and markup unchanged."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def show(text: str, stream: TextIO | None = None, secrets: bool = True) -> None:
    """Prints a text, on stdout if `stream` is None. The reader may have closed it, as `head` does.

    `secrets`: whether secrets in it are hidden. False is for data that the user asked to see, such as the values of a
    database or SQL, in which a column may be named `cookie`.
    """
    stream = stream or sys.stdout
    try:
        print(visible(redact(text) if secrets else text), file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # so that nothing is flushed into it at exit


def guard_output() -> None:
    """Makes tracebacks and log lines of this process, those of libraries too, be shown like `show` does."""
    sys.excepthook = _show_traceback
    threading.excepthook = _show_traceback_of_thread
    logging.setLogRecordFactory(_Record)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _show_traceback(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    show("".join(format_exception(kind, error, traceback)).rstrip("\n"), sys.stderr)


def _show_traceback_of_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_value and not isinstance(raised.exc_value, SystemExit):
        _show_traceback(raised.exc_type, raised.exc_value, raised.exc_traceback)


class _Record(logging.LogRecord):
    """A line of a log without secrets. Formatters write the traceback in `exc_text`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info:
            self.exc_text = visible(redact("".join(format_exception(*self.exc_info)).rstrip("\n")))

    def getMessage(self) -> str:
        return visible(redact(super().getMessage()))
