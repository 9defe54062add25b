"""Reads the schema of a database from SQLite's catalog, not from the CREATE statements.

Covered: tables and views in the order of creation, with any name; composite, dangling and self-referencing foreign
keys; WITHOUT ROWID; generated columns; text that is not UTF-8. Left out and counted, because no query of the sandbox
can read them: virtual tables, the shadow tables that hold their data, and broken views. A database with a pending log
is refused.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from stages.databases.connection import open_read_only
from stages.databases.descriptions import Notes
from stages.databases.first_rows import first_rows

LEFT_OUT = ("virtual_table", "shadow_table", "unreadable_view", "unreadable_rows", "unknown_column")
"""What a prompt does not show of a database. `unreadable_rows`: example rows of a table whose values cannot be
computed; `unknown_column`: descriptions of columns that do not exist."""

_READABLE_MODULES = ["json_each", "json_tree"]  # the virtual tables that the sandbox allows


@dataclass(frozen=True, slots=True)
class Column:
    """`type`: as declared, empty for none; `key`: 1-based position in the primary key, or 0; `note`: its comment."""

    name: str
    type: str
    key: int
    note: str


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`targets`: the parent's columns, empty if its primary key is meant. `parent_key`: that primary key in lower case,
    empty if the parent does not exist."""

    columns: tuple[str, ...]
    parent: str
    targets: tuple[str, ...]
    parent_key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view. `rows`: its first rows, each value as an SQL literal."""

    name: str
    is_view: bool
    without_rowid: bool
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database, and the counts of what was left out, by the names in `LEFT_OUT`."""

    tables: tuple[Table, ...]
    left_out: Counter[str]


def read_schema(database: Path, example_rows: int, notes: Notes) -> Schema:
    """Reads the tables of a database, each with its first `example_rows` rows in the order of its rowid or primary key.
    Views get no rows, because computing the first row of a view may read whole tables. No other data is read. Raises
    apsw.Error if the file is not a readable database, UnicodeDecodeError if a name is not UTF-8."""
    with closing(_open(database)) as connection:
        return _read(connection, database, example_rows, notes)


def _read(connection: apsw.Connection, database: Path, example_rows: int, notes: Notes) -> Schema:
    table_list = _fetch(connection, "PRAGMA table_list")
    kinds = {name: (kind, bool(without_rowid)) for _, name, kind, _, without_rowid, _ in table_list}
    shadows = _shadow_tables(database) if any(kind == "virtual" for kind, _ in kinds.values()) else set()
    tables, left_out = [], Counter[str]()
    own = r"type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
    for (name,) in _fetch(connection, f"SELECT name FROM sqlite_schema WHERE {own} ORDER BY rowid"):
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
    columns_read = {(table.name.lower(), column.name.lower()) for table in tables for column in table.columns}
    left_out["unknown_column"] += sum((table, column) not in columns_read for table in notes for column in notes[table])
    return Schema(tuple(tables), left_out)


def _open(database: Path, virtual: bool = False) -> apsw.Connection:
    """`virtual`: keep all of SQLite's own virtual table modules."""
    connection = open_read_only(database)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    if not virtual:
        connection.drop_modules(_READABLE_MODULES)
    return connection


def _fetch(connection: apsw.Connection, query: str, *bindings: str) -> list[tuple[Any, ...]]:
    return connection.execute(query, bindings).fetchall()


def _shadow_tables(database: Path) -> set[str]:
    """Only a connection with the module of a virtual table knows which tables hold its data."""
    with closing(_open(database, virtual=True)) as connection:
        return {name for _, name, kind, *_ in _fetch(connection, "PRAGMA table_list") if kind == "shadow"}


def _columns(
    connection: apsw.Connection, table: str, is_view: bool, notes: Mapping[str, str]
) -> tuple[Column, ...]:
    """Returns no columns for a view that cannot be read."""
    try:
        columns = _fetch(connection, "SELECT name, type, pk FROM pragma_table_xinfo(?) ORDER BY cid", table)
    except apsw.SQLError:
        if not is_view:
            raise
        return ()
    return tuple(Column(name, kind, key, notes.get(name.lower(), "")) for name, kind, key in columns)


def _foreign_keys(connection: apsw.Connection, table: str) -> tuple[ForeignKey, ...]:
    """Returns the foreign keys in the order of declaration, without duplicates."""
    keys: dict[int, list[tuple[str, str, str | None]]] = {}
    query = 'SELECT id, "from", "table", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq'
    for number, column, parent, target in _fetch(connection, query, table):
        keys.setdefault(number, []).append((column, parent, target))
    return tuple(dict.fromkeys(_foreign_key(connection, parts) for parts in keys.values()))


def _foreign_key(connection: apsw.Connection, parts: list[tuple[str, str, str | None]]) -> ForeignKey:
    parent = parts[0][1]
    key = _fetch(connection, "SELECT lower(name) FROM pragma_table_info(?) WHERE pk ORDER BY pk", parent)
    targets = tuple(target for *_, target in parts if target)
    return ForeignKey(tuple(column for column, *_ in parts), parent, targets, tuple(name for (name,) in key))
