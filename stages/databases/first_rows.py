"""The first rows of a table, for the comments of a prompt."""

import math
import re
from collections.abc import Iterable

import apsw

from stages.databases.quoting import quoted

VALUE_LENGTH = 60
"""Characters that are shown of a text. A longer text is cut and ends in …"""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CODECS = {"UTF-8": "utf-8", "UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}


def first_rows(
    connection: apsw.Connection, table: str, columns: Iterable[str], without_rowid: bool, limit: int
) -> tuple[tuple[str, ...], ...] | None:
    """Reads the first `limit` rows in the order of the rowid or primary key, each value as an SQL literal. No other row
    is read. Returns None if a generated column cannot be computed."""
    # Text is fetched as bytes, because it may not be UTF-8; of a BLOB only the length is fetched.
    cell = (
        "CASE typeof({0}) WHEN 'text' THEN CAST(substr({0}, 1, {1}) AS BLOB) "
        "WHEN 'blob' THEN '<BLOB of ' || length({0}) || ' bytes>' ELSE {0} END"
    )
    cells = ", ".join(cell.format(quoted(column), VALUE_LENGTH + 1) for column in columns)
    index = _primary_key_index(connection, table) if without_rowid else "NOT INDEXED"
    query = f"SELECT {cells} FROM {quoted(table)} {index} LIMIT {limit}"
    codec = _CODECS[connection.pragma("encoding")]
    try:
        return tuple(tuple(literal(value, codec) for value in row) for row in connection.execute(query))
    except apsw.SQLError:
        return None


def _primary_key_index(connection: apsw.Connection, table: str) -> str:
    """The clause that makes SQLite scan a WITHOUT ROWID table by its primary key. SQLite could choose a covering index,
    which has another order, and an ORDER BY could sort the whole table."""
    key = connection.execute("SELECT name FROM pragma_index_list(?) WHERE origin = 'pk'", (table,)).get
    return f"INDEXED BY {quoted(str(key))}"


def literal(value: str | int | float | bytes | None, codec: str) -> str:
    """Writes a value as an SQL literal. Bytes are text in `codec`: invalid bytes become �, line breaks and control
    characters become spaces."""
    if isinstance(value, float) and math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    if not isinstance(value, bytes):
        return "NULL" if value is None else str(value)
    text = value.decode(codec, errors="replace")
    cut_text = text if len(text) <= VALUE_LENGTH else f"{text[:VALUE_LENGTH]}…"
    return "'{}'".format(_CONTROL.sub(" ", cut_text).replace("'", "''"))
