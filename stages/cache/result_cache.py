"""The result cache: what was executed once is not executed again.

A key is a hash of everything that a record depends on (`stages.execution.judge`, `stages.audit.gold_worker`): the bytes
of the database, the texts, the contract, the budget, the limits, the SQLite version and the code itself. So no record
becomes stale, and deleting the cache changes no byte of any output. It is one SQLite file with a write-ahead log:
several runs on one machine may use it at once, and a kill does not damage it. A result that a safety net decided (time,
memory, a lost process) is never cached, since another machine, or a less loaded one, may decide otherwise.

The cache also holds the sha256 of each database, so that a big one is read once and not once a stage: a file with the
same path and state has the same bytes. A file written less than two seconds ago is read each time, since its times
might not show the next change. Within one process a file has one hash; a later change of the file is an error.

Each record has a digest over its key and its value. If the disk returns other bytes than were written, the record
counts as missing.
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
    """The default folder of the cache: `sense` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sense"


class Cache:
    """The records in a folder, which is created if missing. Every method raises UserError if they cannot be used."""

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
        """The cached records: position in `keys` to record."""
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
        """Adds records, which must be JSON values; an existing one stays."""
        values = [(key, json.dumps(record, separators=(",", ":")).encode()) for key, record in records]
        rows = [(key, value, _digest(key, value)) for key, value in values]
        with self._usable(), self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO checked_record VALUES (?, ?, ?)", rows)

    def sha256(self, path: str) -> str:
        """The hex sha256 of a file, which is read only if the hash is not known.

        Raises OSError if the file cannot be read, and UserError if it is not what this process hashed before.
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
