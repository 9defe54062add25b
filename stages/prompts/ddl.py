"""The DDL of a database as prompts show it."""

from pathlib import Path

import apsw


def read_ddl(database: Path) -> str:
    """A compact, deterministic rendering of a SQLite database's tables and foreign keys.

    One line a table, in the order of creation, with its columns in theirs; a foreign key is shown at its column, with
    the parent's column where that is not the parent's primary key: `album(album_id, singer_id -> singer, title, year)`.
    Types and values are not shown. Raises apsw.Error where the file is no readable database.
    """
    uri = f"{database.resolve().as_uri()}?mode=ro&immutable=1"
    connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        tables = connection.execute(
            r"SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' "
            "ORDER BY rowid"
        ).fetchall()
        return "\n".join(_table(connection, str(table)) for (table,) in tables)
    finally:
        connection.close()


def _table(connection: apsw.Connection, table: str) -> str:
    parents = {}
    keys = connection.execute('SELECT "from", "table", "to" FROM pragma_foreign_key_list(?)', (table,)).fetchall()
    for column, parent, target in keys:
        other = target and target not in _primary_key(connection, str(parent))
        parents[column] = f" -> {parent}.{target}" if other else f" -> {parent}"
    columns = connection.execute("SELECT name FROM pragma_table_info(?) ORDER BY cid", (table,)).fetchall()
    return f"{table}({', '.join(f'{column}{parents.get(column, str())}' for (column,) in columns)})"


def _primary_key(connection: apsw.Connection, table: str) -> list[str]:
    return [str(name) for (name,) in connection.execute("SELECT name FROM pragma_table_info(?) WHERE pk", (table,))]
