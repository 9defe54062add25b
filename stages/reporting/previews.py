"""The first rows of the results of queries, and where they differ from the gold's."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from stages.cache.result_cache import Cache
from stages.core.files import fingerprint, sha256_code, sha256_file
from stages.databases.first_rows import literal
from stages.databases.schema import read_schema
from stages.datasets.verdicts import NONDETERMINISTIC_ERRORS
from stages.execution.comparison import Cell, Result, Row
from stages.execution.judge import HANG_GRACE_SECONDS, ROOMS
from stages.execution.process_limits import limit_process
from stages.execution.sandbox import Execution, Limits, OpenDatabases
from stages.execution.worker_pool import CachedBy, Executor, Heartbeat, Job, run
from stages.prompting.ddl import render_table

PREVIEW_ROWS = 5
_STEPS = 1_000_000  # VM steps of one query; longer ones are cut off
_CELLS = 12  # of a row
_CELL_LENGTH = 60
_OTHER_ORDER = "the same rows in another order"


class Preview(NamedTuple):
    """The first rows of a result. `rows`, `missing` and `extra` are JSON: lists of cells, each an SQL literal.

    `columns`: how many there are; `total`: how many rows, None where the query was stopped; `missing`: the first row of
    the gold's result that this one lacks; `extra`: the first row that the gold's lacks; `note`: how else they differ.
    """

    columns: int
    rows: str
    total: int | None
    missing: str | None = None
    extra: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PreviewTask:
    """A database file, and gold queries on it, each with the queries whose results are compared with the gold's."""

    database: str
    questions: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class DatabasePreviews:
    """The DDL of a database and, for each question, the previews of its gold and of its queries, in this order; None
    where there is no result."""

    ddl: str
    questions: list[list[Preview | None]]
    nondeterministic: bool = False


def previews_of(
    tasks: Sequence[PreviewTask], limits: Limits, executor: Executor[PreviewTask, DatabasePreviews], cache: Cache | None
) -> list[DatabasePreviews]:
    """The previews of each task, in their order. The databases must exist."""
    job = Job(
        make_work=partial(make_previewer, limits),
        encode=attrgetter("ddl", "questions", "nondeterministic"),
        decode=_decoded,
        file=attrgetter("database"),
        size=lambda task: sum(len(sql) for gold, queries in task.questions for sql in (gold, *queries)),
        stall_seconds=2 * limits.wall_seconds + HANG_GRACE_SECONDS,
        lost=_without_previews,
        nondeterministic=attrgetter("nondeterministic"),
    )
    cached = CachedBy(cache, partial(_key, limits, cache)) if cache else None
    return run(job, tasks, executor, cached, label="previews", unit="databases")


def _without_previews(task: PreviewTask) -> DatabasePreviews:
    return DatabasePreviews("", [[None, *(None for _ in queries)] for _, queries in task.questions], True)


def _decoded(record: tuple[str, list[list[list[Any] | None]], bool]) -> DatabasePreviews:
    ddl, questions, nondeterministic = record
    previews = [[None if fields is None else Preview(*fields) for fields in question] for question in questions]
    return DatabasePreviews(ddl, previews, nondeterministic)


def _key(limits: Limits, store: Cache, task: PreviewTask) -> bytes:
    """What the previews depend on, hashed: see `stages.cache.result_cache`."""
    code = apsw.sqlite_lib_version(), sha256_code(*ROOMS, "prompting"), sha256_file(Path(__file__))
    return bytes.fromhex(fingerprint("previews", asdict(limits), code, store.sha256(task.database), task.questions))[
        :20
    ]


def make_previewer(limits: Limits, heartbeat: Heartbeat) -> "Previewer":
    """The work of one process, which is put under its limits for good."""
    limit_process(limits.memory_mb)
    return Previewer(limits, heartbeat)


class Previewer:
    """Returns the previews of a task."""

    def __init__(self, limits: Limits, heartbeat: Heartbeat | None = None) -> None:
        self._limits, self._databases = limits, OpenDatabases(heartbeat)

    def __call__(self, task: PreviewTask) -> DatabasePreviews:
        self._nondeterministic = False
        try:
            schema = read_schema(Path(task.database), 0, {})
            ddl = "\n".join(render_table(table, "create_table") for table in schema.tables)
            questions = [self._previews(task.database, gold, queries) for gold, queries in task.questions]
        except MemoryError:
            return _without_previews(task)
        return DatabasePreviews(ddl, questions, self._nondeterministic)

    def _previews(self, database: str, gold_sql: str, queries: Sequence[str]) -> list[Preview | None]:
        gold = self._execute(database, gold_sql)
        return [_preview(gold), *(_preview(self._execute(database, sql), gold.result) for sql in queries)]

    def _execute(self, database: str, sql: str) -> Execution:
        execution = self._databases.get(database).execute(sql, _STEPS, self._limits)
        self._nondeterministic |= execution.error_class in NONDETERMINISTIC_ERRORS
        return execution


def _preview(execution: Execution, gold: Result | None = None) -> Preview | None:
    """None of a query that failed."""
    read = execution.read
    if not read.columns or execution.status not in ("ok", "over_budget"):
        return None
    rows = json.dumps([_cells(row) for row in islice(read.rows, PREVIEW_ROWS)], ensure_ascii=False)
    if execution.result is None:
        return Preview(read.columns, rows, None, note=f"stopped after {_STEPS:,} steps")
    if gold is None or gold.rows == read.rows:
        return Preview(read.columns, rows, len(read.rows))
    if gold.bag == read.bag:
        missing, extra = next(pair for pair in zip(gold.rows, read.rows, strict=True) if pair[0] != pair[1])
        return Preview(read.columns, rows, len(read.rows), _row_text(missing), _row_text(extra), _OTHER_ORDER)
    note = "the same rows, but not as often" if gold.bag.keys() == read.bag.keys() else None
    differing = _row_text(gold.first_beyond(read)), _row_text(read.first_beyond(gold))
    return Preview(read.columns, rows, len(read.rows), *differing, note)


def _row_text(row: Row | None) -> str | None:
    return None if row is None else json.dumps(_cells(row), ensure_ascii=False)


def _cells(row: Row) -> list[str]:
    more = ["…"] if len(row) > _CELLS else []
    return [*map(_cell, row[:_CELLS]), *more]


def _cell(cell: Cell) -> str:
    """A cell as an SQL literal; text that is no UTF-8 stands in it with replacement characters."""
    value = cell.encode(errors="replace") if isinstance(cell, str) else cell
    text = f"x'{cell.hex()}'" if isinstance(cell, bytes) else literal(value, "utf-8")
    return text if len(text) <= _CELL_LENGTH else f"{text[:_CELL_LENGTH]}…"
