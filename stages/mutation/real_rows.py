"""Reads the tables of a database with real rows, as counterexample databases start from them.

Of a large table a part of the rows is read, spread evenly over its rowids, so that a database of gigabytes takes no
longer than one of megabytes. Virtual tables, triggers and rows with text that is not UTF-8 are left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from stages.databases.connection import open_read_only
from stages.databases.quoting import quoted
from stages.execution.comparison import Cell, Row

MOST_ROWS = 5000
"""Rows read of a table."""

_WHOLE = re.compile(r"-?[1-9]\d{0,17}|0")

Column = tuple[str, str, int]
"""Name, declared type, and place in the primary key or 0."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: `columns` of the table, by position, point at `targets` of the table `parent`."""

    columns: tuple[int, ...]
    parent: str
    targets: tuple[int, ...]


def key_of(row: Sequence[Cell], places: Sequence[int]) -> Row:
    """The cells at these places as keys are compared: a foreign key that is a text may point at a number."""
    return tuple([_number_of(row[place]) for place in places])


def _number_of(cell: Cell) -> Cell:
    return int(cell) if isinstance(cell, str) and _WHOLE.fullmatch(cell) else cell


@dataclass(frozen=True, slots=True)
class Table:
    """A table with real rows. `columns`: those that are not generated; `keys`: the positions of the columns of each
    key, first those of the primary key if the table `has_primary` one, then of each UNIQUE; `whole`: the rows are all
    rows of the table."""

    name: str
    columns: tuple[str, ...]
    keys: tuple[tuple[int, ...], ...]
    has_primary: bool
    references: tuple[Reference, ...]
    rows: tuple[Row, ...]
    whole: bool

    @property
    def primary(self) -> tuple[int, ...]:
        """The positions of the columns of the primary key."""
        return self.keys[0] if self.has_primary else ()


@dataclass(frozen=True, slots=True)
class Database:
    """`tables`: in the order of creation; `create`: the statements that make them, and `create_more` those that make
    indexes and views; `has_views`: whether there are views; `texts`: all texts of the rows; `encoding`: of text."""

    tables: tuple[Table, ...]
    create: tuple[str, ...]
    create_more: tuple[str, ...]
    has_views: bool
    texts: frozenset[str]
    encoding: str


def read_real_rows(path: Path) -> Database:
    """The tables of a database file. Raises UserError or apsw.Error where it cannot be read."""
    with closing(open_read_only(path)) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        query = "SELECT type, name, sql FROM sqlite_schema WHERE sql != '' ORDER BY rowid"
        statements: list[tuple[Any, ...]] = connection.execute(query).fetchall()
        kinds = {name: kind for _, name, kind, *_ in connection.execute("PRAGMA table_list")}
        own = [
            (name, sql) for kind, name, sql in statements
            if kind == "table" and kinds.get(name) == "table" and not name.lower().startswith("sqlite_")
        ]  # fmt: skip
        columns = {name: _columns(connection, name) for name, _ in own}
        tables = tuple(_table(connection, name, columns) for name, _ in own)
        more = [(kind, sql) for kind, _, sql in statements if kind in ("index", "view")]
        has_views, encoding = any(kind == "view" for kind, _ in more), str(connection.pragma("encoding"))
        texts = frozenset(cell for table in tables for row in table.rows for cell in row if isinstance(cell, str))
        create, create_more = tuple(sql for _, sql in own), tuple(sql for _, sql in more)
        return Database(tables, create, create_more, has_views, texts, encoding)


def _columns(connection: apsw.Connection, table: str) -> list[Column]:
    query = "SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid"  # others are generated
    return list(connection.execute(query, (table,)))


def _table(connection: apsw.Connection, name: str, columns: Mapping[str, Sequence[Column]]) -> Table:
    names = [column for column, _, _ in columns[name]]
    in_key = sorted((key, place) for place, (_, _, key) in enumerate(columns[name]) if key)
    primary = tuple(place for _, place in in_key)
    keys = dict.fromkeys([*([primary] if primary else []), *_unique(connection, name, names)])
    rows, whole = _rows(connection, name, names) if names else ((), True)
    references = tuple(_references(connection, name, columns))
    return Table(name, tuple(names), tuple(keys), bool(primary), references, rows, whole)


def _unique(connection: apsw.Connection, table: str, names: list[str]) -> list[tuple[int, ...]]:
    """The columns of each unique index on whole columns; an index on some of the rows is taken for one on all."""
    query = """SELECT list.seq, info.name FROM pragma_index_list(?) AS list, pragma_index_info(list.name) AS info
        WHERE list."unique" ORDER BY list.seq, info.seqno"""
    indexes: dict[int, list[str | None]] = {}
    for index, column in connection.execute(query, (table,)):
        indexes.setdefault(index, []).append(column)
    return [
        tuple(names.index(column) for column in columns if column is not None)
        for columns in indexes.values() if all(column in names for column in columns)
    ]  # fmt: skip


def _references(
    connection: apsw.Connection, table: str, columns: Mapping[str, Sequence[Column]]
) -> Iterator[Reference]:
    """The foreign keys whose parent and columns exist, in the order of declaration."""
    keys: dict[int, list[tuple[str, str, str | None]]] = {}
    query = 'SELECT id, "from", "table", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq'
    for number, column, parent, target in connection.execute(query, (table,)):
        keys.setdefault(number, []).append((column, parent, target))
    names = {name.lower(): name for name in columns}
    for parts in keys.values():
        if (parent_name := names.get(parts[0][1].lower())) is None:
            continue
        primary = [name for _, name in sorted((key, name) for name, _, key in columns[parent_name] if key)]
        targets = [target for _, _, target in parts if target] or primary
        own = _positions(columns[table], [column for column, _, _ in parts])
        theirs = _positions(columns[parent_name], targets)
        if own and theirs and len(own) == len(theirs):
            yield Reference(own, parent_name, theirs)


def _positions(columns: Sequence[Column], names: Sequence[str]) -> tuple[int, ...]:
    """Where the columns with these names stand; () where one does not exist."""
    places = {name.lower(): place for place, (name, _, _) in enumerate(columns)}
    known = [places[name.lower()] for name in names if name.lower() in places]
    return tuple(known) if len(known) == len(names) else ()


def _rows(connection: apsw.Connection, table: str, names: list[str]) -> tuple[tuple[Row, ...], bool]:
    """At most MOST_ROWS rows, and whether they are all."""
    source = quoted(table)
    count = next(connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT {MOST_ROWS + 1})"))[0]
    if count <= MOST_ROWS:
        return tuple(_read(connection, names, source)), True
    rowid = next((name for name in ("rowid", "_rowid_", "oid") if name not in map(str.lower, names)), "")
    without_rowid = next(connection.execute("SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'", (table,)))[0]
    if without_rowid or not rowid:
        return tuple(_read(connection, names, f"{source} LIMIT {MOST_ROWS}")), False
    low, high = next(connection.execute(f"SELECT min({rowid}), max({rowid}) FROM {source}"))
    steps = (low + (high - low) * step // (MOST_ROWS - 1) for step in range(MOST_ROWS))
    near = f"{source} WHERE {rowid} >= ? ORDER BY {rowid} LIMIT 1"
    return tuple(dict.fromkeys(row for start in steps for row in _read(connection, names, near, start))), False


def _read(connection: apsw.Connection, names: Sequence[str], source: str, *bindings: int) -> list[Row]:
    """The columns of the rows of `source`, without rows that hold text which is not UTF-8."""
    try:
        return connection.execute(f"SELECT {', '.join(map(quoted, names))} FROM {source}", bindings).fetchall()
    except UnicodeDecodeError:
        cell = "typeof({0}), CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END"
        cells = ", ".join(cell.format(quoted(name)) for name in names)
        rows = connection.execute(f"SELECT {cells} FROM {source}", bindings).fetchall()
        return [row for cells in rows if (row := _decoded(cells)) is not None]


def _decoded(cells: tuple[Any, ...]) -> Row | None:
    """A row whose text came as bytes; None if one is not UTF-8."""
    pairs = zip(cells[::2], cells[1::2], strict=True)
    try:
        return tuple(value.decode() if kind == "text" else value for kind, value in pairs)
    except UnicodeDecodeError:
        return None
