"""The database files of a run must stay as they are from the moment that they are hashed to the last read.

A label is kept under the hash of the database that it came from. A file that changes while queries run on it would give
labels of one content under the hash of another. So the state of each file (inode, size, time of the last write and of
the last change) is taken before it is hashed, and compared before any label is kept or given back.

Covered: a file that was written, replaced, or removed, also where it was put back afterwards; a write-ahead log or a
rollback journal that appeared beside it. Not covered: a file system that changes neither inode nor times.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import UserError
from stages.core.files import sha256_file

RACY_NS = 2_000_000_000
"""Nanoseconds after a write in which a further write may leave the times of the file as they are."""

_AGAIN = "start again (no label of the changed file was kept)"


@dataclass(frozen=True, slots=True)
class FileState:
    """What changes whenever a file's content does."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    def is_racy(self) -> bool:
        """Whether the file was written so recently that a further write might not show."""
        return time.time_ns() - self.changed_ns < RACY_NS


def file_state(path: str) -> FileState:
    """The state of a file now. Raises OSError where there is none."""
    stat = Path(path).stat()
    return FileState(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def state_problem(path: str, state: FileState) -> str | None:
    """A sentence for a file that is not in this state any more."""
    try:
        if file_state(path) == state:
            return None
    except OSError as error:
        return f"{path} was removed while it was being read ({error.strerror}); put it back and {_AGAIN}"
    return changed(path)


def changed(path: str) -> str:
    """The sentence for a file that is not what it was when the run began."""
    return f"{path} was changed while it was being read; leave it as it is during a run, and {_AGAIN}"


def pending_log(path: Path) -> Path | None:
    """The write-ahead log or rollback journal that holds changes which the database file itself lacks.

    A log without content holds none, nor does a journal whose first byte is zero: SQLite has finished with both.
    """
    database = path.resolve()
    wal, journal = (database.with_name(database.name + end) for end in ("-wal", "-journal"))
    if wal.is_file() and wal.stat().st_size:
        return wal
    if journal.is_file():
        with journal.open("rb") as file:
            return journal if file.read(1).strip(b"\0") else None
    return None


def pending_problem(path: Path) -> str | None:
    """A sentence for a database with such a log."""
    if log := pending_log(path):
        return f"{log} holds changes that {path.name} lacks; open the database once with `sqlite3` and close it"
    return None


class HeldFiles:
    """The states of files at the start of a run. Raises UserError for each one that is not there."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._states: dict[str, FileState] = {}
        self._racy: dict[str, str] = {}  # path to sha256
        missing = []
        for path in sorted(set(paths)):
            try:
                self._states[path] = file_state(path)
                if self._states[path].is_racy():
                    self._racy[path] = sha256_file(Path(path))
            except OSError as error:
                missing.append(f"{path} cannot be read ({error.strerror}); put the database there")
        if missing:
            raise UserError(*missing)

    def require_unchanged(self, paths: Iterable[str] | None = None) -> None:
        """Raises UserError for each of `paths` (None: of all files) that is not as it was."""
        checked = self._states if paths is None else set(paths)
        problems = [problem for path in sorted(checked) if (problem := self._problem(path))]
        if problems:
            raise UserError(*problems)

    def _problem(self, path: str) -> str | None:
        state = self._states[path]
        if problem := state_problem(path, state):
            return problem
        if path in self._racy and sha256_file(Path(path)) != self._racy[path]:
            return changed(path)
        if not state.is_racy():
            self._racy.pop(path, None)  # from now on its state tells
        return pending_problem(Path(path))
