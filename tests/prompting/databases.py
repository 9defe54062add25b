"""Odd databases, made from the scripts in tests/fixtures/prompts."""

import json
from pathlib import Path

import apsw

from stages.databases.descriptions import notes_of
from stages.databases.schema import Schema, read_schema
from tests import FIXTURES

FOLDER = FIXTURES / "prompts"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.sql"))
EXAMPLE_ROWS = 2
"""Of the scripts that have descriptions beside them; the others are shown without rows."""


def make_database(path: Path, script: str) -> Path:
    """Runs an SQL script in a new database."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    connection.execute(script)
    connection.close()
    return path


def schema_of(script: str, folder: Path) -> Schema:
    """What is read of the database of a script by name, made in `folder`."""
    database = make_database(folder / f"{script}.sqlite", (FOLDER / f"{script}.sql").read_text(encoding="utf-8"))
    descriptions = FOLDER / f"{script}.descriptions.json"
    if not descriptions.exists():
        return read_schema(database, 0, {})
    return read_schema(database, EXAMPLE_ROWS, notes_of(json.loads(descriptions.read_text(encoding="utf-8"))))
