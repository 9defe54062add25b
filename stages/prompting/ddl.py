"""Tables as the text that a prompt shows."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from stages.databases.quoting import identifier, listed, type_name
from stages.databases.schema import ForeignKey, Table

Style = Literal["compact", "create_table"]

Entry = tuple[str, str]
"""A column or a key, and the comment at it (empty for none)."""


def table_text(table: Table, style: Style) -> str:
    """A table in a style; below it its example rows as comments, one a line.

    - `compact`: `album(album_id, singer_id -> singer, title)`; a foreign key is shown at its column, with the parent's
      column where that is not in the parent's primary key.
    - `create_table`: a CREATE TABLE statement with types, primary key and foreign keys; for a view, CREATE VIEW with
      its columns in the place of its query.

    Where there are notes, each column stands on a line of its own, with its note behind it as a comment.
    """
    text = _compact(table) if style == "compact" else _create_table(table)
    return "\n".join([text, *(f"-- ({', '.join(row)})" for row in table.rows)])


def shuffled(tables: Sequence[Table], generator: random.Random) -> list[Table]:
    """The tables, and the columns inside each, in an order drawn from `generator`."""
    return [_columns_shuffled(table, generator) for table in generator.sample(tables, len(tables))]


def _columns_shuffled(table: Table, generator: random.Random) -> Table:
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
    """What the column at place `at` of a foreign key refers to."""
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
    entries += [(_foreign_key(foreign), "") for foreign in table.foreign_keys]
    kind = "VIEW" if table.is_view else "TABLE"
    end = ") WITHOUT ROWID;" if table.without_rowid else ");"
    return f"CREATE {kind} {identifier(table.name)} ({_block(entries)}{end}"


def _foreign_key(key: ForeignKey) -> str:
    targets = f" {listed(key.targets)}" if key.targets else ""
    return f"FOREIGN KEY {listed(key.columns)} REFERENCES {identifier(key.parent)}{targets}"


def _block(entries: Sequence[Entry]) -> str:
    """Each entry on a line of its own, with its comment behind the comma."""
    commas = [","] * (len(entries) - 1) + [""]
    lines = [f"  {text}{comma} -- {note}" for (text, note), comma in zip(entries, commas, strict=True)]
    return "\n".join(["", *(line.removesuffix(" -- ") for line in lines), ""])
