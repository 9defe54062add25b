"""The tables of a database as prompts show them, read from the database itself and not from the text that made it.

Covered: tables and views in the order of creation, whatever their names are; composite, dangling and self-referencing
foreign keys; WITHOUT ROWID; generated columns; text that is no UTF-8. Left out and counted, because no query of the
sandbox can read them: virtual tables, the shadow tables that hold their data, and views that cannot be read any more.
A database with changes in a log beside it is refused.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from stages.databases.connection import open_read_only
from stages.databases.descriptions import Notes
from stages.databases.first_rows import first_rows

LEFT_OUT = ("virtual_table", "shadow_table", "unreadable_view", "unreadable_rows", "unknown_column")
"""What a prompt does not show of a database; the last two: the example rows of a table whose values cannot be computed,
and the descriptions of columns that are not there."""

_READABLE_MODULES = ["json_each", "json_tree"]  # all that the sandbox has of virtual tables


@dataclass(frozen=True, slots=True)
class Column:
    """`type` as declared, empty for none; `key`: its place in the primary key from 1, or 0; `note`: its comment."""

    name: str
    type: str
    key: int
    note: str


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`targets`: the parent's columns, none where its primary key is meant. `parent_key`: that key in lower case, empty
    where there is no such table."""

    columns: tuple[str, ...]
    parent: str
    targets: tuple[str, ...]
    parent_key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view; `rows` are its first rows, each value as the literal that a comment shows."""

    name: str
    is_view: bool
    without_rowid: bool
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database, and how many there are of each of `LEFT_OUT`."""

    tables: tuple[Table, ...]
    left_out: Counter[str]


def read_schema(database: Path, example_rows: int, notes: Notes) -> Schema:
    """The tables of a database, each with its first `example_rows` rows in the order of its rowid or primary key; views
    without, for the first row of a view may need all of its tables. Of the data only these rows are read.

    Raises apsw.Error where the file is no readable database, UnicodeDecodeError where a name is no UTF-8.
    """
    connection = _open(database)
    try:
        return _read(connection, database, example_rows, notes)
    finally:
        connection.close()


def _read(connection: apsw.Connection, database: Path, example_rows: int, notes: Notes) -> Schema:
    kinds = {row[1]: (row[2], bool(row[4])) for row in _all(connection, "PRAGMA table_list")}
    shadows = _shadow_tables(database) if any(kind == "virtual" for kind, _ in kinds.values()) else set()
    tables, left_out = [], Counter[str]()
    for name in _names(connection):
        kind, without_rowid = kinds[name]
        if kind == "virtual" or name in shadows:
            left_out["virtual_table" if kind == "virtual" else "shadow_table"] += 1
            continue
        is_view = kind == "view"
        columns = _columns(connection, name, is_view, notes.get(name.lower(), {}))
        if not columns:
            left_out["unreadable_view"] += 1
            continue
        shows_rows = example_rows > 0 and not is_view
        names = [column.name for column in columns]
        rows = first_rows(connection, name, names, without_rowid, example_rows) if shows_rows else ()
        left_out["unreadable_rows"] += rows is None
        tables.append(Table(name, is_view, without_rowid, columns, _foreign_keys(connection, name), rows or ()))
    shown = {(table.name.lower(), column.name.lower()) for table in tables for column in table.columns}
    left_out["unknown_column"] += sum((table, column) not in shown for table in notes for column in notes[table])
    return Schema(tuple(tables), left_out)


def _open(database: Path, virtual: bool = False) -> apsw.Connection:
    """`virtual`: with SQLite's own kinds of virtual tables."""
    connection = open_read_only(database)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    if not virtual:
        connection.drop_modules(_READABLE_MODULES)
    return connection


def _all(connection: apsw.Connection, query: str, *bindings: str) -> list[tuple[Any, ...]]:
    return connection.execute(query, bindings).fetchall()


def _shadow_tables(database: Path) -> set[str]:
    """Only a connection that knows the kind of a virtual table can tell which tables hold its data."""
    connection = _open(database, virtual=True)
    try:
        return {row[1] for row in _all(connection, "PRAGMA table_list") if row[2] == "shadow"}
    finally:
        connection.close()


def _names(connection: apsw.Connection) -> list[str]:
    own = r"type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
    return [name for (name,) in _all(connection, f"SELECT name FROM sqlite_schema WHERE {own} ORDER BY rowid")]


def _columns(
    connection: apsw.Connection, table: str, is_view: bool, notes: Mapping[str, str]
) -> tuple[Column, ...]:
    """None where it is a view that cannot be read."""
    try:
        found = _all(connection, "SELECT name, type, pk FROM pragma_table_xinfo(?) ORDER BY cid", table)
    except apsw.SQLError:
        if not is_view:
            raise
        return ()
    return tuple(Column(name, kind, key, notes.get(name.lower(), "")) for name, kind, key in found)


def _foreign_keys(connection: apsw.Connection, table: str) -> tuple[ForeignKey, ...]:
    """In the order of declaration, equal ones once."""
    keys: dict[int, list[tuple[str, str, str | None]]] = {}
    query = 'SELECT id, "from", "table", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq'
    for number, *part in _all(connection, query, table):
        keys.setdefault(number, []).append((part[0], part[1], part[2]))
    return tuple(dict.fromkeys(_foreign_key(connection, parts) for parts in keys.values()))


def _foreign_key(connection: apsw.Connection, parts: list[tuple[str, str, str | None]]) -> ForeignKey:
    parent = parts[0][1]
    key = _all(connection, "SELECT lower(name) FROM pragma_table_info(?) WHERE pk ORDER BY pk", parent)
    targets = tuple(target for *_, target in parts if target)
    return ForeignKey(tuple(column for column, *_ in parts), parent, targets, tuple(name for (name,) in key))
