"""Builds a database from the tables and rows that a strong model wrote, in a worker process under limits.

Of the model's SQL only CREATE TABLE and CREATE INDEX run, under an authorizer: no trigger, view, virtual table or
query. Rows are bound as values, never put into SQL. What SQLite would accept silently is refused too: a foreign key
that points nowhere, text in a column of numbers.
"""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import apsw

from stages.databases.quoting import quoted
from stages.execution.process_limits import limit_process
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import Executor, Heartbeat, Job, run
from stages.sql.text import statements
from stages.synthesis.answers import DatabaseDraft, TableDraft

MAX_TABLES = 50
MAX_COLUMNS = 100
MAX_ROWS = 10_000
"""Of all tables together: a database is made to be asked, and each row is paid for."""
STEP_BUDGET = 50_000_000
"""SQLite VM steps for the whole database: a CHECK may hold any expression."""

_STALL_SECONDS = 70.0
_STEPS_PER_TICK = 1000
_ALLOWED = {
    apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_REINDEX, apsw.SQLITE_READ,
}  # fmt: skip
_WRITES = {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE}
_FORBIDDEN_FUNCTIONS = {"load_extension", "fts3_tokenizer", "random", "randomblob"}
_NUMBER = re.compile(r"\b((big|small|tiny|medium)?int|integer|real|float|double|numeric|decimal|number)\b", re.I)


@dataclass(frozen=True, slots=True)
class Built:
    """The bytes of a database; or the reason why there is none, and a message for the model."""

    database: bytes | None = None
    reason: str = ""
    message: str = ""


class _Refused(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def build_all(drafts: Sequence[DatabaseDraft], limits: Limits, executor: Executor[DatabaseDraft, Built]) -> list[Built]:
    """The database of each draft, in their order."""
    job = Job(
        make_work=partial(_make_work, limits),
        encode=_encode,
        decode=_decode,
        file=lambda draft: None,
        size=_size,
        stall_seconds=_STALL_SECONDS,
        lost=lambda draft: Built(None, "undecided", "building the database took its process down"),
        nondeterministic=lambda built: built.reason == "undecided",
    )
    return run(job, drafts, executor, label="databases", unit="databases")


def build(draft: DatabaseDraft, heartbeat: Heartbeat | None = None) -> Built:
    """Builds one database in memory."""
    try:
        return Built(_build(draft, heartbeat))
    except _Refused as error:
        return Built(None, error.reason, str(error))
    except (MemoryError, apsw.NoMemError, apsw.FullError):
        return Built(None, "undecided", "building the database took too much memory")


def _make_work(limits: Limits, heartbeat: Heartbeat) -> Callable[[DatabaseDraft], Built]:
    limit_process(limits.memory_mb)
    return partial(build, heartbeat=heartbeat)


def _encode(built: Built) -> list[Any]:
    database = built.database and base64.b64encode(built.database).decode()
    return [database, built.reason, built.message]


def _decode(values: Any) -> Built:
    return Built(values[0] and base64.b64decode(values[0]), *values[1:])


def _size(draft: DatabaseDraft) -> int:
    return sum(len(table.create) + 20 * sum(map(len, table.rows)) for table in draft.tables)


def _build(draft: DatabaseDraft, heartbeat: Heartbeat | None) -> bytes:
    _check_size(draft)
    connection = apsw.Connection(":memory:")
    try:
        connection.pragma("page_size", 1024)
        connection.execute("BEGIN")
        _harden(connection, heartbeat)
        for table in draft.tables:
            _create(connection, table)
        connection.authorizer = None  # from here on the SQL is ours
        for table in draft.tables:
            _insert(connection, table)
        connection.execute("COMMIT")
        _check_foreign_keys(connection)
        _check_types(connection)
        return bytes(connection.serialize("main"))
    except apsw.InterruptError:
        raise _Refused("database_budget", f"building it takes more than {STEP_BUDGET:,} steps") from None
    finally:
        connection.close()


def _check_size(draft: DatabaseDraft) -> None:
    if len(draft.tables) > MAX_TABLES:
        raise _Refused("too_many_tables", f"it has {len(draft.tables)} tables; give at most {MAX_TABLES}")
    rows = sum(len(table.rows) for table in draft.tables)
    if rows > MAX_ROWS:
        raise _Refused("too_many_rows", f"it has {rows:,} rows; give at most {MAX_ROWS:,}")
    if not rows:
        raise _Refused("no_rows", "its tables have no rows")


def _harden(connection: apsw.Connection, heartbeat: Heartbeat | None) -> None:
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    connection.drop_modules(None)
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, 1_000_000)
    connection.limit(apsw.SQLITE_LIMIT_COLUMN, MAX_COLUMNS)
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    connection.limit(apsw.SQLITE_LIMIT_TRIGGER_DEPTH, 1)
    steps = 0

    def on_tick() -> bool:
        nonlocal steps
        steps += _STEPS_PER_TICK
        if heartbeat:
            heartbeat()
        return steps > STEP_BUDGET

    connection.set_progress_handler(on_tick, _STEPS_PER_TICK)
    connection.authorizer = _authorize


def _authorize(action: int, first: str | None, second: str | None, schema: str | None, trigger: str | None) -> int:
    keeps_ddl = action in _WRITES and (first or "").lower() in ("sqlite_master", "sqlite_schema")
    is_harmless = action == apsw.SQLITE_FUNCTION and (second or "").lower() not in _FORBIDDEN_FUNCTIONS
    return apsw.SQLITE_OK if keeps_ddl or is_harmless or action in _ALLOWED else apsw.SQLITE_DENY


def _create(connection: apsw.Connection, table: TableDraft) -> None:
    for text in statements(table.create):
        try:
            connection.execute(text).fetchall()
        except apsw.AuthError:
            message = f"only CREATE TABLE and CREATE INDEX are allowed, not: {text[:200]}"
            raise _Refused("schema_forbidden", message) from None
        except (apsw.SQLError, ValueError) as error:  # ValueError: a NUL in the text
            raise _Refused("schema_error", f"{error}, in: {text[:200]}") from None


def _insert(connection: apsw.Connection, table: TableDraft) -> None:
    columns = _columns(connection, table.name)
    if not columns:
        raise _Refused("schema_error", f"no CREATE TABLE makes a table named {table.name}")
    for number, row in enumerate(table.rows):
        if len(row) != len(columns):
            width = f"row {number + 1} of {table.name} has {len(row)} values"
            raise _Refused("row_width", f"{width}, but the table has {len(columns)} columns")
    insert = f"INSERT INTO {quoted(table.name)} VALUES ({', '.join('?' * len(columns))})"
    try:
        connection.executemany(insert, table.rows)
        stored = connection.execute(f"SELECT count(*) FROM {quoted(table.name)}").fetchone()
        if stored != (len(table.rows),):  # ON CONFLICT IGNORE or REPLACE
            raise _Refused("row_constraint", f"{table.name} keeps {stored} of its {len(table.rows)} rows")
    except apsw.ConstraintError as error:
        raise _Refused("row_constraint", f"a row of {table.name} breaks a constraint: {error}") from None
    except (apsw.SQLError, apsw.MismatchError, apsw.TooBigError, UnicodeError, OverflowError) as error:
        raise _Refused("row_error", f"a row of {table.name} cannot be stored: {error}") from None


def _columns(connection: apsw.Connection, table: str) -> list[tuple[Any, ...]]:
    """Name and declared type of the columns that an INSERT fills."""
    return connection.execute("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden = 0", (table,)).fetchall()


def _tables(connection: apsw.Connection) -> list[str]:
    """All tables: a statement may hold several."""
    tables: list[tuple[Any, ...]] = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return [name for (name,) in tables if not name.lower().startswith("sqlite_")]


def _check_foreign_keys(connection: apsw.Connection) -> None:
    for table in _tables(connection):
        query = 'SELECT "table", "to" FROM pragma_foreign_key_list(?)'
        keys: list[tuple[Any, ...]] = connection.execute(query, (table,)).fetchall()
        for parent, target in keys:
            columns = {name.lower() for name, _ in _columns(connection, parent)}
            if not columns or (target and target.lower() not in columns):
                target = f"{parent}.{target}" if columns else parent
                raise _Refused("foreign_key", f"a foreign key of {table} points to {target}, which does not exist")
    try:
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    except apsw.SQLError as error:  # "foreign key mismatch": the parent's columns are not unique
        raise _Refused("foreign_key", str(error)) from None
    if orphans:
        child, rowid, parent, _ = orphans[0]
        message = f"row {rowid} of {child} refers to a row of {parent} that does not exist"
        raise _Refused("row_foreign_key", message)


def _check_types(connection: apsw.Connection) -> None:
    for table in _tables(connection):
        for column, declared in _columns(connection, table):
            if not _NUMBER.search(declared):
                continue
            name = quoted(column)
            text = f"SELECT {name} FROM {quoted(table)} WHERE typeof({name}) = 'text' LIMIT 1"
            if value := connection.execute(text).fetchone():
                message = f"{table}.{column} is declared {declared} and holds the text {value[0][:50]!r}"
                raise _Refused("row_type", message)
