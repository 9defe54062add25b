"""Opens SQLite databases read-only."""

from pathlib import Path
from typing import Any

import apsw

from stages.core.errors import UserError
from stages.databases.held_files import pending_problem


def open_read_only(database: Path, **options: Any) -> apsw.Connection:
    """Returns a connection that can neither write the file nor create it; `options` are those of apsw.Connection.
    Raises UserError if a log beside the database holds changes, and apsw.Error if the file cannot be opened."""
    if problem := pending_problem(database):
        raise UserError(problem)
    uri = f"{database.resolve().as_uri()}?mode=ro&immutable=1"
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, **options)
