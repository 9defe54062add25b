"""A tiny database: what the tests of execution share."""

import sqlite3
from pathlib import Path

from stages.execution.sandbox import Limits

LIMITS = Limits(wall_seconds=20, memory_mb=512, max_rows=20_000, result_mb=20)
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
CROSS_JOIN = "SELECT * FROM singer a, singer b, singer c, singer d, singer e, singer f, singer g, singer h, singer i"


def counting(steps: int) -> str:
    """A query of about 16 steps for each of `steps`."""
    return f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {steps}) SELECT count(*) FROM n"


def make_database(folder: Path, db_id: str = "music") -> Path:
    """Singers of whom two have the same age, and albums of which one is of no singer."""
    path = folder / db_id / f"{db_id}.sqlite"
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.executescript("""
        CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT, age INTEGER, country TEXT);
        INSERT INTO singer VALUES (1, 'Ada', 30, 'Peru'), (2, 'Bea', 40, 'Peru'), (3, 'Cid', 40, 'Chad'),
                                  (4, 'Dan', 51, NULL);
        CREATE TABLE album (album_id INTEGER PRIMARY KEY, singer_id INTEGER, title TEXT);
        INSERT INTO album VALUES (1, 1, 'One'), (2, 1, 'Two'), (3, 2, 'Three'), (4, NULL, 'Four');
    """)
    connection.close()
    return path
