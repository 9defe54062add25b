"""Renders tables as the DDL that a prompt shows."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from stages.databases.quoting import identifier, listed, type_name
from stages.databases.schema import ForeignKey, Table

Style = Literal["compact", "create_table"]


def render_table(table: Table, style: Style) -> str:
    """Renders a table in a style, followed by its example rows as comments, one per line.

    - `compact`: `album(album_id, singer_id -> singer, title)`. A foreign key is shown at its column, with the parent's
      column unless that is in the parent's primary key.
    - `create_table`: a CREATE TABLE statement with types, primary key and foreign keys. A view becomes CREATE VIEW with
      its columns instead of its query.

    If columns have notes, each column is on its own line, followed by its note as a comment.
    """
    text = _compact(table) if style == "compact" else _create_table(table)
    return "\n".join([text, *(f"-- ({', '.join(row)})" for row in table.rows)])


def shuffle_tables(tables: Sequence[Table], generator: random.Random) -> list[Table]:
    """Shuffles the tables, and the columns of each, with `generator`."""
    return [_shuffle_columns(table, generator) for table in generator.sample(tables, len(tables))]


def _shuffle_columns(table: Table, generator: random.Random) -> Table:
    order = generator.sample(range(len(table.columns)), len(table.columns))
    rows = tuple(tuple(row[at] for at in order) for row in table.rows)
    return replace(table, columns=tuple(table.columns[at] for at in order), rows=rows)


def _compact(table: Table) -> str:
    parents: dict[str, dict[str, None]] = {}
    for key in table.foreign_keys:
        for at, name in enumerate(key.columns):
            parents.setdefault(name, {})[_parent(key, at)] = None
    entries = []
    for column in table.columns:
        arrow = f" -> {' | '.join(parents[column.name])}" if column.name in parents else ""
        entries.append((identifier(column.name) + arrow, column.note))
    body = _block(entries) if any(note for _, note in entries) else ", ".join(text for text, _ in entries)
    return f"{identifier(table.name)}({body})"


def _parent(key: ForeignKey, at: int) -> str:
    """Returns what the column at position `at` of a foreign key refers to."""
    if not key.targets or key.targets[at].lower() in key.parent_key:
        return identifier(key.parent)
    return f"{identifier(key.parent)}.{identifier(key.targets[at])}"


def _create_table(table: Table) -> str:
    in_key = sorted((column for column in table.columns if column.key), key=lambda column: column.key)
    key = tuple(column.name for column in in_key)
    entries = []
    for column in table.columns:
        parts = [identifier(column.name), type_name(column.type), "PRIMARY KEY" if key == (column.name,) else ""]
        entries.append((" ".join(filter(None, parts)), column.note))
    if len(key) > 1:
        entries.append((f"PRIMARY KEY {listed(key)}", ""))
    for foreign in table.foreign_keys:
        targets = f" {listed(foreign.targets)}" if foreign.targets else ""
        reference = f"{identifier(foreign.parent)}{targets}"
        entries.append((f"FOREIGN KEY {listed(foreign.columns)} REFERENCES {reference}", ""))
    kind = "VIEW" if table.is_view else "TABLE"
    end = ") WITHOUT ROWID;" if table.without_rowid else ");"
    return f"CREATE {kind} {identifier(table.name)} ({_block(entries)}{end}"


def _block(entries: Sequence[tuple[str, str]]) -> str:
    """Puts each column or key on its own line, with its comment (empty for none) after the comma."""
    commas = [","] * (len(entries) - 1) + [""]
    lines = [f"  {text}{comma} -- {note}" for (text, note), comma in zip(entries, commas, strict=True)]
    return "\n".join(["", *(line.removesuffix(" -- ") for line in lines), ""])
