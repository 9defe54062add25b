"""Checks that database files do not change during a run, from the moment that they are hashed to the last read.

A label is stored under the hash of its database. If a file changed while queries run on it, labels of one content would
be stored under the hash of another. So the state of each file (inode, size, times of the last write and of the last
change) is recorded before the file is hashed, and compared before a label is stored or returned.

Covered: a file that was written, replaced or removed, even if it was put back afterwards; a write-ahead log or a
rollback journal that appeared beside it. Not covered: a file system that updates neither inode nor times.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import UserError
from stages.core.files import sha256_file

RACY_NS = 2_000_000_000
"""Nanoseconds after a write during which a second write may leave the file's times unchanged."""

_AGAIN = "start again (no label of the changed file was kept)"


@dataclass(frozen=True, slots=True)
class FileState:
    """Metadata that changes whenever the content of a file changes."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    def is_racy(self) -> bool:
        """Whether the file was written so recently that a second write might not change its state."""
        return time.time_ns() - self.changed_ns < RACY_NS


def file_state(path: str) -> FileState:
    """Returns the current state of a file. Raises OSError if it does not exist."""
    stat = Path(path).stat()
    return FileState(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def state_problem(path: str, state: FileState) -> str | None:
    """Returns a sentence if the file is no longer in this state, else None."""
    try:
        if file_state(path) == state:
            return None
    except OSError as error:
        return f"{path} was removed while it was being read ({error.strerror}); put it back and {_AGAIN}"
    return _changed_sentence(path)


def _changed_sentence(path: str) -> str:
    return f"{path} was changed while it was being read; leave it as it is during a run, and {_AGAIN}"


def pending_log(path: Path) -> Path | None:
    """Returns the write-ahead log or rollback journal with changes that the database file itself lacks, or None. An
    empty log holds no changes, nor does a journal whose first byte is zero: SQLite has finished with both."""
    database = path.resolve()
    wal, journal = (database.with_name(database.name + end) for end in ("-wal", "-journal"))
    if wal.is_file() and wal.stat().st_size:
        return wal
    if journal.is_file():
        with journal.open("rb") as file:
            return journal if file.read(1).strip(b"\0") else None
    return None


def pending_problem(path: Path) -> str | None:
    """Returns a sentence if the database has a pending log, else None."""
    if log := pending_log(path):
        return f"{log} holds changes that {path.name} lacks; open the database once with `sqlite3` and close it"
    return None


class HeldFiles:
    """The states of the files at the start of a run. Raises UserError with a sentence for each missing file."""

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
        """Raises UserError with a sentence for each of `paths` (None: of all files) that changed since the start."""
        checked = self._states if paths is None else set(paths)
        problems = [problem for path in sorted(checked) if (problem := self._problem(path))]
        if problems:
            raise UserError(*problems)

    def _problem(self, path: str) -> str | None:
        state = self._states[path]
        if problem := state_problem(path, state):
            return problem
        if path in self._racy and sha256_file(Path(path)) != self._racy[path]:
            return _changed_sentence(path)
        if not state.is_racy():
            self._racy.pop(path, None)  # from now on a change shows in the state
        return pending_problem(Path(path))
