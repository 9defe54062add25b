"""What lies in a result cache, as another process sees it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def records_in(folder: Path) -> dict[bytes, Any]:
    """The results of queries and the samples, by key; hashes of files are left out. Empty where no cache is yet."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'records.sqlite'}?mode=ro", uri=True, timeout=30)) as connection:
            rows = connection.execute("SELECT key, value FROM checked_record").fetchall()
    except sqlite3.OperationalError:  # it is being made
        return {}
    records = {key: json.loads(value) for key, value in rows}
    return {key: record for key, record in records.items() if not isinstance(record, str)}
