"""What is known of columns, as comments of one line each."""

import re
from collections.abc import Mapping

Notes = Mapping[str, Mapping[str, str]]
"""Table to column to its comment, names in lower case: who describes a database may write them otherwise."""

Descriptions = Mapping[str, Mapping[str, Mapping[str, str]]]
"""`descriptions.json` beside a database: table to column to `name`, `description`, `values`, each where it is known."""

_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def notes_of(descriptions: Descriptions) -> Notes:
    """Name, description and values of each column, parted by `; `, without what only repeats the column's name or the
    text before. Of several descriptions of a column the first that says something."""
    notes: dict[str, dict[str, str]] = {}
    for table, columns in descriptions.items():
        known = notes.setdefault(table.lower(), {})
        for column, said in columns.items():
            known[column.lower()] = known.get(column.lower()) or _note(column, **said)
    return notes


def _note(column: str, name: str = "", description: str = "", values: str = "") -> str:
    texts: dict[str, str] = {}
    for text in (column, name, description, values):
        texts.setdefault(text.casefold(), one_line(text))
    return "; ".join(text for text in list(texts.values())[1:] if text)


def one_line(text: str) -> str:
    """A text with each run of space, line breaks and control characters as one space."""
    return _SPACE.sub(" ", text)
