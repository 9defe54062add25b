"""Column descriptions, as comments of one line each."""

import re
from collections.abc import Mapping

Notes = Mapping[str, Mapping[str, str]]
"""Table to column to its comment. Names are in lower case, because a description may write them otherwise."""

Descriptions = Mapping[str, Mapping[str, Mapping[str, str]]]
"""`descriptions.json` beside a database: table to column to the known ones of `name`, `description`, `values`."""

_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def notes_of(descriptions: Descriptions) -> Notes:
    """Joins name, description and values of each column with `; `. A text that repeats the column's name or an earlier
    text is left out. If a column has several descriptions, the first that is not empty counts."""
    notes: dict[str, dict[str, str]] = {}
    for table, columns in descriptions.items():
        table_notes = notes.setdefault(table.lower(), {})
        for column, texts in columns.items():
            table_notes[column.lower()] = table_notes.get(column.lower()) or _note(column, **texts)
    return notes


def _note(column: str, name: str = "", description: str = "", values: str = "") -> str:
    texts: dict[str, str] = {}
    for text in (column, name, description, values):
        texts.setdefault(text.casefold(), one_line(text))
    return "; ".join(text for text in list(texts.values())[1:] if text)


def one_line(text: str) -> str:
    """Replaces each run of white space and control characters by one space."""
    return _SPACE.sub(" ", text)
