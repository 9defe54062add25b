"""The result cache: what was executed once, under this key, is not executed again.

A key is a hash of everything that a record depends on (`stages.sql.judge`, `stages.gold`): the bytes of the database,
the texts, the contract, the budget, the limits, the SQLite version and the code itself. So no record grows stale, and
the cache can be deleted at any time without changing a byte of any output. It is one SQLite file with a write-ahead
log: several runs may use it at once, on one machine, and a kill leaves it whole. What a safety net decided (time,
memory, a lost process) is never kept: another machine, or a quieter moment, may decide it.

The sha256 of each database lies there too, so that a big one is read once and not once a stage: a file with the same
path, inode, size and times has the same bytes. One that was written less than two seconds before is read each time,
since the next change might not be seen in its times.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from stages.errors import UserError
from stages.files import sha256_file

_BUSY_MS = 60_000
_RACY_NS = 2_000_000_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (key BLOB PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;
"""


def default_folder() -> Path:
    """Where the cache lies unless a flag says otherwise: `sense` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sense"


class Cache:
    """The records in a folder, made where it is missing. All of it raises UserError where they cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "records.sqlite"
        self._hashes: dict[tuple[str, str], str] = {}
        with self._usable():
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = apsw.Connection(str(self.file))
            self._connection.set_busy_timeout(_BUSY_MS)
            for pragma, value in (("journal_mode", "wal"), ("synchronous", "normal"), ("cache_size", -65_536)):
                self._connection.pragma(pragma, value)
            self._connection.execute(_SCHEMA)

    def get(self, keys: Sequence[bytes]) -> dict[int, Any]:
        """The records that are there: position in `keys` to record."""
        found = {}
        with self._usable():
            cursor = self._connection.cursor()
            for index, key in enumerate(keys):
                row = cursor.execute("SELECT value FROM record WHERE key = ?", (key,)).fetchone()
                if row:
                    found[index] = json.loads(row[0])
        return found

    def put(self, records: Iterable[tuple[bytes, Any]]) -> None:
        """Keeps records, which hold only what JSON holds; one that is there already stays."""
        rows = [(key, json.dumps(record, separators=(",", ":"))) for key, record in records]
        with self._usable(), self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO record VALUES (?, ?)", rows)

    def sha256(self, path: str) -> str:
        """The hex sha256 of a file, which is read only where it is not known. Raises OSError where it cannot be."""
        path = str(Path(path).absolute())
        stat = Path(path).stat()
        state = f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        if (path, state) not in self._hashes:
            settled = time.time_ns() - stat.st_mtime_ns > _RACY_NS
            self._hashes[path, state] = self._known(path, state) or self._read(path, state, settled)
        return self._hashes[path, state]

    def _known(self, path: str, state: str) -> str | None:
        with self._usable():
            known = "SELECT sha256 FROM file WHERE path = ? AND state = ?"
            row = self._connection.execute(known, (path, state)).fetchone()
            return str(row[0]) if row else None

    def _read(self, path: str, state: str, settled: bool) -> str:
        sha256 = sha256_file(Path(path))
        if settled:
            with self._usable():
                self._connection.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", (path, state, sha256))
        return sha256

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, apsw.Error) as error:
            fix = "free the disk, delete the file, or give another folder with --cache or XDG_CACHE_HOME"
            raise UserError(f"the cache {self.file} cannot be used ({error}); {fix}") from error
