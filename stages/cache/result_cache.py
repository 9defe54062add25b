"""The result cache: what was executed once, under this key, is not executed again.

A key is a hash of everything that a record depends on (`stages.execution.judge`, `stages.gold`): the bytes of the
database, the texts, the contract, the budget, the limits, the SQLite version and the code itself. So no record grows
stale, and the cache can be deleted at any time without changing a byte of any output. It is one SQLite file with a
write-ahead log: several runs may use it at once, on one machine, and a kill leaves it whole. What a safety net decided
(time, memory, a lost process) is never kept: another machine, or a quieter moment, may decide it.

The sha256 of each database lies there too, so that a big one is read once and not once a stage: a file with the same
path and state has the same bytes. One that was written less than two seconds before is read each time, since the next
change might not be seen in its times. In one process a file has one hash: that it changed since is an error.

Each record has a digest over its key and its value. Where a disk gives back other bytes than were written, the record
counts as missing, and is made again.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from hashlib import blake2b
from pathlib import Path
from typing import Any

import apsw

from stages.core.errors import UserError
from stages.core.files import sha256_file
from stages.databases.held_files import FileState, file_state, state_problem

_BUSY_MS = 60_000
_DIGEST_BYTES = 16
_SCHEMA = """
CREATE TABLE IF NOT EXISTS checked_record (key BLOB PRIMARY KEY, value BLOB NOT NULL, digest BLOB NOT NULL)
WITHOUT ROWID;
"""


def default_folder() -> Path:
    """Where the cache lies unless a flag says otherwise: `sense` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sense"


class Cache:
    """The records in a folder, made where it is missing. All of it raises UserError where they cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "records.sqlite"
        self._hashes: dict[str, tuple[FileState, str]] = {}
        with self._usable():
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = apsw.Connection(str(self.file))
            self._connection.set_busy_timeout(_BUSY_MS)
            for pragma, value in (("journal_mode", "wal"), ("synchronous", "normal"), ("cache_size", -65_536)):
                self._connection.pragma(pragma, value)
            self._connection.execute(_SCHEMA)

    def get(self, keys: Sequence[bytes]) -> dict[int, Any]:
        """The records that are there: position in `keys` to record."""
        records = {}
        with self._usable():
            cursor = self._connection.cursor()
            for position, key in enumerate(keys):
                row = cursor.execute("SELECT value, digest FROM checked_record WHERE key = ?", (key,)).fetchone()
                if row and _digest(key, row[0]) == row[1]:
                    records[position] = json.loads(row[0])
                elif row:
                    cursor.execute("DELETE FROM checked_record WHERE key = ?", (key,))
        return records

    def put(self, records: Iterable[tuple[bytes, Any]]) -> None:
        """Keeps records, which hold only what JSON holds; one that is there already stays."""
        values = [(key, json.dumps(record, separators=(",", ":")).encode()) for key, record in records]
        rows = [(key, value, _digest(key, value)) for key, value in values]
        with self._usable(), self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO checked_record VALUES (?, ?, ?)", rows)

    def sha256(self, path: str) -> str:
        """The hex sha256 of a file, which is read only where it is not known.

        Raises OSError where the file cannot be read, and UserError where it is not what this process hashed before.
        """
        path = str(Path(path).absolute())
        if path in self._hashes:
            self.require_unchanged([path])
        else:
            state = file_state(path)
            self._hashes[path] = (state, self._kept_sha256(path, state))
        return self._hashes[path][1]

    def require_unchanged(self, paths: Iterable[str] | None = None) -> None:
        """Raises UserError for each of `paths` (None: of all files) that is not what this process hashed."""
        checked = self._hashes if paths is None else paths
        problems = [problem for path in checked if (problem := state_problem(path, self._hashes[path][0]))]
        if problems:
            raise UserError(*problems)

    def _kept_sha256(self, path: str, state: FileState) -> str:
        key = blake2b(json.dumps(["file", path, *astuple(state)]).encode(), digest_size=20).digest()
        if kept := self.get([key]):
            return str(kept[0])
        settled = not state.is_racy()
        sha256 = sha256_file(Path(path))
        if problem := state_problem(path, state):
            raise UserError(problem)
        if settled:
            self.put([(key, sha256)])
        return sha256

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, apsw.Error) as error:
            fix = "free the disk, delete the file, or give another folder with --cache or XDG_CACHE_HOME"
            raise UserError(f"the cache {self.file} cannot be used ({error}); {fix}") from error


def _digest(key: bytes, value: object) -> bytes:
    """Of what the file gives back: a damaged value need not be bytes any more."""
    content = value if isinstance(value, bytes) else b"\0"
    return blake2b(content, digest_size=_DIGEST_BYTES, key=key).digest()
