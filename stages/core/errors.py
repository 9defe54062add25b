"""How a stage ends on an error of its user or its machine: all errors as sentences, exit status 2, and no traceback. A
defect of the stage itself keeps its traceback."""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from stages.core.display import guard_output, show, visible_line

_SHOWN = 60  # characters of a value
_MAKE_ROOM = "make room there, and run the same command again"
_FIXES = {
    errno.EACCES: "correct its permissions, or give another path",
    errno.EDQUOT: _MAKE_ROOM,
    errno.EEXIST: "give another path, or move away what is there",
    errno.EFBIG: "raise the limit of file sizes (`ulimit -f`)",
    errno.EIO: "check its disk, then run the same command again",
    errno.EISDIR: "give the path of a file",
    errno.ELOOP: "correct its symbolic links, or give another path",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENFILE: "close other programs, then run the same command again",
    errno.ENOENT: "put it there, or correct the path",
    errno.ENOSPC: _MAKE_ROOM,
    errno.ENOTDIR: "correct the path: a part of it is a file",
    errno.ENXIO: "give the path of a file",
    errno.EPERM: "correct its permissions, or give another path",
    errno.EROFS: "give a path on a disk that can be written",
    errno.ESTALE: "run the same command again",
}
"""The system's errors that come from paths, disks and limits, not from a defect, and their fixes."""


class UserError(Exception):
    """One or more errors in params, files or flags. Each sentence names the field or file, its value, and the fix."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


def short(value: object) -> str:
    """The `repr` of a value for a message, cut after 60 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


@contextmanager
def collect_errors(errors: list[str]) -> Iterator[None]:
    """Adds the sentences of a UserError to `errors`, to be shown with others."""
    try:
        yield
    except UserError as error:
        errors += error.sentences


def run_stage(main: Callable[[], None]) -> None:
    """Runs a stage's `main`. A UserError, or an error of the system that comes from a path, a disk or a limit, is
    printed as sentences on stderr and ends the process with status 2; Ctrl-C ends it with the line `interrupted` and
    status 130, as a shell gives it; any other error keeps its traceback.

    Where the reader of standard output closes it, as `head` does, the stage goes on. Where standard output cannot be
    written for another reason, as on a full disk, the stage ends as by a UserError.
    """
    guard_output()
    try:
        with _guarded_stdout():
            _check_names()
            main()
    except UserError as error:
        _end(2, *_error_lines(*error.sentences))
    except KeyboardInterrupt:
        at_terminal = sys.stderr is not None and sys.stderr.isatty()
        _end(130, "\ninterrupted" if at_terminal else "interrupted")  # a terminal shows `^C` before it
    except Exception as error:  # polars and safetensors have classes of their own for errors of the system
        if not (sentence := system_sentence(error)):
            raise
        _end(2, *_error_lines(sentence))


def reader_is_gone() -> bool:
    """Whether the reader of standard output was found to have closed it, as `head` does."""
    return isinstance(sys.stdout, _Stdout) and sys.stdout.reader_is_gone


def system_errno(error: BaseException) -> int | None:
    """The number of the system's error behind an exception, None where there is none. Libraries in Rust give it in
    their message only."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    match = re.search(r"\(os error (\d+)\)", str(error))
    return int(match[1]) if match else None


def system_sentence(error: BaseException) -> str | None:
    """The sentence for an error of the system: its file, cause and fix. None where the exception is a defect."""
    number = system_errno(error)
    if number not in _FIXES:
        return None
    name = getattr(error, "filename", None)
    full = number in (errno.ENOSPC, errno.EDQUOT)  # of a copy, the target is what does not fit
    name = (full and getattr(error, "filename2", None)) or name
    shown = os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else "a file"
    return f"{shown}: {os.strerror(number)}; {_FIXES[number]}"


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Puts `path`, the file or folder that is being written, into an error of the system that names no file."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # as in `run_stage`
        number = system_errno(error)
        if number is None or getattr(error, "filename", None):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


class _Stdout(TextIOWrapper):
    """Standard output that its reader may close, that escapes what it cannot encode, and that raises UserError."""

    reader_is_gone = False

    def write(self, text: str) -> int:
        with self._system_errors():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._system_errors():
            super().flush()

    @contextmanager
    def _system_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # or the buffered text would fail once more
            self.reader_is_gone = isinstance(error, BrokenPipeError)
            if not self.reader_is_gone:
                reason = error.strerror or error
                raise UserError(f"standard output cannot be written ({reason}); {_MAKE_ROOM}, or redirect it") from None


@contextmanager
def _guarded_stdout() -> Iterator[None]:
    stdout = sys.stdout
    if not isinstance(stdout, TextIOWrapper):  # closed from the start, or replaced by a test
        yield
        return
    guarded = _Stdout(
        stdout.buffer, encoding=stdout.encoding, errors="backslashreplace", line_buffering=stdout.line_buffering
    )
    sys.stdout = guarded
    try:
        yield
    finally:
        sys.stdout = stdout
        try:
            guarded.flush()
        finally:
            guarded.detach()


def _check_names() -> None:
    """Paths go into JSON, Parquet and SQLite, none of which can hold bytes that are not UTF-8."""
    errors = [f"the argument {name!r} is not UTF-8; give a name in UTF-8" for name in sys.argv[1:] if not is_utf8(name)]
    if not is_utf8(folder := str(Path.cwd())):
        errors.append(f"the name of the folder {folder!r} is not UTF-8; rename it, or run the command in another one")
    if errors:
        raise UserError(*errors)


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold a text. It cannot hold half a surrogate pair, which JSON, YAML and file names may have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _error_lines(*sentences: str) -> list[str]:
    return [f"error: {visible_line(sentence)}" for sentence in sentences]


def _end(status: int, *lines: str) -> None:
    with suppress(OSError):  # where stderr cannot be written, only the status is left
        for line in lines:
            show(line, sys.stderr)
    sys.exit(status)
