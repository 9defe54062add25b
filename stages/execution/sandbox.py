"""Runs one query of unknown origin on one SQLite database.

Covered: the file is opened read-only and immutable and is never created; exactly one statement runs; an authorizer lets
it read and nothing else (no write, ATTACH, PRAGMA, transaction, extension, VACUUM INTO; no EXPLAIN either); SQLite's
run-time limits on sizes are tight (`undecided`), those on the form of a query its defaults (`exec_error`); there are no
virtual tables but json_each and json_tree, and no temporary files. A budget in SQLite VM steps decides (`over_budget`);
wall clock, memory and result size are nets (`undecided`). The same query on the same file takes the same steps and
gives the same rows on every machine: the SQLite version is pinned, `now` is 2020-01-01 00:00 UTC, and `random()` starts
anew with each query.

Not covered: a single long operation inside SQLite (an `instr` of two huge strings) is not interrupted here; the
process that runs it is killed (`stages.execution.worker_pool`). A database with a pending `-wal` or a hot `-journal` is
refused, but locks of other processes are not looked at. Against bugs in SQLite itself there is no defence but the
limits of the process (`stages.execution.process_limits`). `sin`, `pow` and their like may come from the machine's C
library, and differ in the last bit.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import apsw

from stages.databases.connection import open_read_only
from stages.datasets.verdicts import ErrorClass, Status
from stages.execution.comparison import Cell, Result, Row
from stages.execution.error_classes import error_class
from stages.execution.number_collation import NumberOrder, as_text
from stages.sql.text import MAX_SQL_BYTES, is_too_long, statements

STEPS_PER_TICK = 1000
"""Steps between two looks at the budget and the clock. The budget itself is exact: a query that ends with more steps
than it had is over budget, however it ended."""

NOTHING = Result(0, [])

StopWhen = Callable[[int, list[Row], int], bool]
"""Whether reading a result can stop: given its number of columns, the rows since the last call, and the number of all
rows so far."""

BLOCK_ROWS = 100
_OPEN_DATABASES = 16
_ERROR_LENGTH = 300
_LIMITS = {
    apsw.SQLITE_LIMIT_LENGTH: 10_000_000,
    apsw.SQLITE_LIMIT_SQL_LENGTH: MAX_SQL_BYTES,
    apsw.SQLITE_LIMIT_VDBE_OP: 1_000_000,
    # A query over one of these is an `exec_error`, so they are SQLite's defaults: the evaluators run what is below.
    apsw.SQLITE_LIMIT_EXPR_DEPTH: 1000,
    apsw.SQLITE_LIMIT_COMPOUND_SELECT: 500,
    apsw.SQLITE_LIMIT_FUNCTION_ARG: 127,  # 1,000 since SQLite 3.48, which few Pythons have
    apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50_000,
    apsw.SQLITE_LIMIT_ATTACHED: 0,
    apsw.SQLITE_LIMIT_VARIABLE_NUMBER: 0,
    apsw.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    apsw.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_ALLOWED = {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE}
_FORBIDDEN_FUNCTIONS = {
    "load_extension", "fts3_tokenizer", "sqlite_log", "rtreecheck", "rtreenode", "rtreedepth",
    "sqlite_compileoption_get", "sqlite_compileoption_used",  # tell of the compiler, so not the same everywhere
}  # fmt: skip
_COUNTER = 2**32  # SQLite counts the steps of a statement in 32 bits
_TICKS_PER_BEAT = 64
_TOO_LONG = f"the query has more than {MAX_SQL_BYTES:,} bytes"
_TABLE_FUNCTIONS = ["json_each", "json_tree"]
_NOW_JULIAN_DAY = 2458849.5  # 2020-01-01 00:00 UTC: the year that the Spider evaluator puts for the current one
_NETS: dict[type[Exception], ErrorClass] = {
    apsw.TooBigError: "size",
    apsw.NoMemError: "memory",
    MemoryError: "memory",
    apsw.FullError: "memory",
    UnicodeDecodeError: "text",
    apsw.CorruptError: "file",
    apsw.IOError: "file",
    apsw.NotADBError: "file",
    apsw.CantOpenError: "file",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The safety nets of one query. `wall_seconds`: of wall clock; `memory_mb`: of the process and of SQLite's heap;
    `max_rows` and `result_mb`: of its result."""

    wall_seconds: float
    memory_mb: int
    max_rows: int
    result_mb: int


@dataclass(frozen=True, slots=True)
class Execution:
    """How a query ended. `read` is what was read of its result (no columns: it was never begun), `whole` whether that
    is all of it; `steps` are SQLite VM steps. `error` and `error_class` say why it is not `ok`."""

    status: Status
    steps: int
    read: Result = NOTHING
    whole: bool = False
    error: str | None = None
    error_class: ErrorClass | None = None

    @property
    def result(self) -> Result | None:
        """The result, of a query that is `ok` and was read to its end."""
        return self.read if self.whole else None

    @property
    def rows(self) -> int:
        """The number of rows that were read."""
        return len(self.read.rows)


class _FixedClock(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("fixed-clock", "")

    def xCurrentTime(self) -> float:
        return _NOW_JULIAN_DAY

    def xCurrentTimeInt64(self) -> int:
        return int(_NOW_JULIAN_DAY * 86_400_000)


_CLOCK = _FixedClock()


class Database:
    """An open database. Not for threads. `source`: its file, or the content of one that stands in memory alone.

    `reverse_unspecified_order`: scans without an ORDER BY run backwards and `random()` gives other numbers. Queries can
    also use the function `tie_breaker()`, which gives a smaller number each time, and the collations `as_text` and
    `as_number` of `stages.execution.number_collation`; `number_order` is what the latter saw in the last query,
    `column_names` the names of the columns of its result (none: it was never begun).
    `heartbeat` is called about every 64,000 steps.
    Raises UserError if a log beside the file holds changes of it, and apsw.Error if it cannot be opened.
    """

    def __init__(
        self, source: Path | bytes, reverse_unspecified_order: bool = False, heartbeat: Callable[[], None] | None = None
    ) -> None:
        self._reversed, self._heartbeat = reverse_unspecified_order, heartbeat
        self.number_order = NumberOrder()
        self.column_names: tuple[str, ...] = ()
        self._connection = _connect(source)
        self._begin(0, 0)
        try:
            self._harden()
        except apsw.Error:
            self._connection.close()  # or its file stays open
            raise

    def close(self) -> None:
        self._connection.close()

    def execute(self, sql: str, budget: int, limits: Limits, stop_when: StopWhen | None = None) -> Execution:
        """Runs `sql`, at most `budget` VM steps. `stop_when` is called before the first row and after every hundred;
        when it returns True the query ends, as `ok` and not whole."""
        self.column_names = ()
        if is_too_long(sql):
            return Execution("undecided", 0, error=_TOO_LONG, error_class="size")
        texts = statements(sql)
        if not texts:
            return Execution("no_sql", 0, error="there is no SQL")
        if len(texts) > 1:
            return Execution("exec_error", 0, error=f"{len(texts)} statements", error_class="several_statements")
        execution = self._run(texts[0], budget, limits, stop_when)
        if execution.error_class != "text" or not self._utf8:
            return execution
        return self._run(_texts_as_bytes(texts[0], execution.read.columns), budget, limits, stop_when, as_bytes=True)

    def _run(
        self, sql: str, budget: int, limits: Limits, stop_when: StopWhen | None, as_bytes: bool = False
    ) -> Execution:
        """`as_bytes`: the query is one of `_texts_as_bytes`."""
        self._begin(budget, limits.wall_seconds, stop_when, as_bytes)
        rows: list[Row] = []
        try:
            whole = self._read(sql, rows, limits)
        except (apsw.Error, MemoryError, ValueError) as error:  # ValueError: text that is not Unicode, or holds NUL
            return self._failed(error, rows)
        if self._steps > budget:
            return self._over(rows)
        return Execution("ok", self._steps, Result(self._columns, rows), whole)

    def _read(self, sql: str, rows: list[Row], limits: Limits) -> bool:
        cursor = self._connection.cursor()
        try:
            cells: Iterable[Row] = cursor.execute(sql)
            size = 0
            while True:
                before = len(rows)
                block_cells = islice(cells, BLOCK_ROWS)
                rows.extend(map(_decoded, block_cells) if self._as_bytes else block_cells)  # keeps rows before an error
                block = rows[before:]
                ended = len(block) < BLOCK_ROWS
                if not ended and self._stop_when and self._stop_when(self._columns, block, len(rows)):
                    return False
                size += sum(len(cell) for cell in chain.from_iterable(block) if isinstance(cell, str | bytes))
                if len(rows) > limits.max_rows or size > limits.result_mb * 1_000_000:
                    raise apsw.TooBigError(f"more than {limits.max_rows} rows or {limits.result_mb} MB of result")
                if ended:
                    return True
        finally:
            cursor.close(True)

    def _failed(self, error: Exception, rows: list[Row]) -> Execution:
        read = Result(self._columns, rows)
        if self._stopped == "early":
            return Execution("ok", self._steps, read)
        if self._steps > self._budget or self._stopped == "budget":
            return self._over(rows)
        if self._stopped == "time":
            return Execution("undecided", self._steps, read, error="met the wall clock", error_class="time")
        text = str(error)[:_ERROR_LENGTH] or type(error).__name__
        for kind, name in _NETS.items():
            if isinstance(error, kind):
                return Execution("undecided", self._steps, read, error=text, error_class=name)
        if isinstance(error, apsw.ExecTraceAbort):
            text = "not authorized: no query"
        return Execution("exec_error", self._steps, read, error=text, error_class=error_class(text))

    def _over(self, rows: list[Row]) -> Execution:
        read = Result(self._columns, rows)
        return Execution("over_budget", self._steps, read, error=f"needs more than {self._budget} steps")

    def _begin(
        self, budget: int, seconds: float, stop_when: StopWhen | None = None, as_bytes: bool = False
    ) -> None:
        self._as_bytes = as_bytes
        self._budget, self._deadline, self._stop_when = budget, time.monotonic() + seconds, stop_when
        self._ticks = self._steps = self._columns = self._countdown = 0
        self._stopped = ""
        self.number_order = NumberOrder()
        self._random: random.Random | None = None

    def _harden(self) -> None:
        connection = self._connection
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.drop_modules(_TABLE_FUNCTIONS)
        connection.pragma("cell_size_check", 1)
        connection.pragma("temp_store", 2)  # in memory: no query fills the disk
        connection.pragma("reverse_unordered_selects", int(self._reversed))
        if self._reversed:
            connection.create_scalar_function("tie_breaker", self._tie_breaker, 0)
            connection.create_collation("as_text", as_text)
            connection.create_collation("as_number", lambda left, right: self.number_order.compare(left, right))
        harmless = apsw.SQLITE_INNOCUOUS  # views may use them
        connection.create_scalar_function("random", self._random_integer, 0, flags=harmless)
        connection.create_scalar_function("randomblob", self._random_blob, 1, flags=harmless)
        for limit, value in _LIMITS.items():
            connection.limit(limit, value)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # reads the schema before steps are counted
        self._utf8 = connection.pragma("encoding") == "UTF-8"
        connection.authorizer = _authorize
        connection.exec_trace = self._on_statement
        connection.set_progress_handler(self._on_tick, STEPS_PER_TICK)
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._on_end)

    def _on_statement(self, cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        if cursor.is_explain:
            return False
        names = tuple(name for name, _ in cursor.get_description())
        self._columns = len(names) // (2 if self._as_bytes else 1)
        if not self._as_bytes:
            self.column_names = names
        if self._columns and self._stop_when and self._stop_when(self._columns, [], 0):
            self._stopped = "early"
        return self._columns > 0 and not self._stopped

    def _on_tick(self) -> bool:
        self._ticks += 1
        if self._heartbeat and self._ticks % _TICKS_PER_BEAT == 0:
            self._heartbeat()
        if self._ticks * STEPS_PER_TICK > self._budget:
            self._stopped = "budget"
        elif time.monotonic() > self._deadline:
            self._stopped = "time"
        return bool(self._stopped)

    def _on_end(self, event: dict[str, dict[str, int]]) -> None:
        # The ticks tell how often the counter began again at zero.
        counted = event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"] % _COUNTER
        self._steps = counted + round((self._ticks * STEPS_PER_TICK - counted) / _COUNTER) * _COUNTER

    def _tie_breaker(self, *no_arguments: Cell) -> int:
        self._countdown -= 1
        return self._countdown

    def _random_integer(self, *no_arguments: Cell) -> int:
        return int.from_bytes(self._random_bytes(8), "big", signed=True)

    def _random_blob(self, *lengths: Cell) -> bytes:
        return self._random_bytes(lengths[0] if isinstance(lengths[0], int) else 1)

    def _random_bytes(self, length: int) -> bytes:
        if length > _LIMITS[apsw.SQLITE_LIMIT_LENGTH]:
            raise apsw.TooBigError("string or blob too big")
        self._random = self._random or random.Random(int(self._reversed))
        return self._random.randbytes(max(1, length))


def _connect(source: Path | bytes) -> apsw.Connection:
    if isinstance(source, Path):
        return open_read_only(source, vfs="fixed-clock", statementcachesize=0)
    connection = apsw.Connection(":memory:", vfs="fixed-clock", statementcachesize=0)
    connection.deserialize("main", source)
    return connection


class OpenDatabases:
    """The databases that were used last, open; for `heartbeat` and `reverse_unspecified_order` see `Database`."""

    def __init__(self, heartbeat: Callable[[], None] | None = None) -> None:
        self._heartbeat = heartbeat
        self._open: OrderedDict[tuple[str, bool], Database] = OrderedDict()

    def get(self, path: str, reverse_unspecified_order: bool = False) -> Database:
        key = (path, reverse_unspecified_order)
        if key not in self._open:
            self._open[key] = Database(Path(path), reverse_unspecified_order, self._heartbeat)
            if len(self._open) > _OPEN_DATABASES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(key)
        return self._open[key]


def _texts_as_bytes(sql: str, columns: int) -> str:
    """A query for the rows of `sql`, each cell as its type and its value, text as bytes: for text that is no UTF-8."""
    names = [f"c{number}" for number in range(columns)]
    cell = "typeof({0}), CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END"
    return f"WITH read({', '.join(names)}) AS ({sql}\n) SELECT {', '.join(map(cell.format, names))} FROM read"


def _decoded(cells: Row) -> Row:
    """A row of `_texts_as_bytes`, with bytes that are no UTF-8 kept apart as lone surrogates."""
    pairs = zip(cells[::2], cells[1::2], strict=True)
    return tuple(
        cell.decode(errors="surrogateescape") if kind == "text" and isinstance(cell, bytes) else cell
        for kind, cell in pairs
    )


def _authorize(action: int, first: str | None, second: str | None, schema: str | None, trigger: str | None) -> int:
    if action in _ALLOWED or (action == apsw.SQLITE_FUNCTION and second not in _FORBIDDEN_FUNCTIONS):
        return apsw.SQLITE_OK
    return apsw.SQLITE_DENY
