"""Executes one query in the sandbox of a worker process, and keeps its first rows."""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

from stages.datasets.verdicts import ErrorClass, Status
from stages.execution.comparison import Row
from stages.execution.judge import HANG_GRACE_SECONDS, LOST
from stages.execution.process_limits import limit_process
from stages.execution.sandbox import Database, Execution, Limits
from stages.execution.worker_pool import Heartbeat, Job, attempts

Query = tuple[str, str]
"""A database file and the SQL of a query."""


@dataclass(frozen=True, slots=True)
class QueryRows:
    """The result of executing a query. `rows` are the first ones, `total` counts all; of a query that was stopped, all
    that were read. `error` and `error_class` say why it is not `ok`; `steps` are SQLite VM steps, None where its
    process was lost."""

    status: Status
    error: str | None = None
    steps: int | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    total: int = 0
    error_class: ErrorClass | None = None


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """`budget`: the VM steps that a query may take; `limits`: the safety nets; `rows`: the first rows that are kept."""

    budget: int
    limits: Limits
    rows: int


def query_rows(database: Path, sql: str, limits: QueryLimits) -> QueryRows:
    """Executes `sql` once, in a process of its own that cannot write. The database must exist (`database_problem`), and
    have no log beside it."""
    job: Job[Query, QueryRows] = Job(
        make_work=partial(_make_work, limits),
        encode=astuple,
        decode=lambda values: QueryRows(*values),
        file=itemgetter(0),
        size=lambda query: len(query[1]),
        stall_seconds=limits.limits.wall_seconds + HANG_GRACE_SECONDS,
        lost=lambda query: QueryRows("undecided", LOST, error_class="lost"),
        nondeterministic=lambda rows: False,
    )
    query = (str(database.absolute()), sql)
    records: dict[int, QueryRows] = {}
    for attempt in attempts(job, [query], [[0]], workers=1):
        records |= attempt.records
    return records[0] if records else job.lost(query)


def _make_work(limits: QueryLimits, heartbeat: Heartbeat) -> Callable[[Query], QueryRows]:
    limit_process(limits.limits.memory_mb)
    return partial(_executed, limits, heartbeat)


def _executed(limits: QueryLimits, heartbeat: Heartbeat, query: Query) -> QueryRows:
    path, sql = query
    database = Database(Path(path), heartbeat=heartbeat)
    try:
        execution = database.execute(sql, limits.budget, limits.limits)
    except MemoryError:
        execution = Execution("undecided", 0, error="out of memory", error_class="memory")
    ending = (execution.status, execution.error, execution.steps)
    if execution.status in ("exec_error", "no_sql") or (execution.status != "ok" and not execution.rows):
        return QueryRows(*ending, error_class=execution.error_class)
    rows = tuple(execution.read.rows[: limits.rows])
    return QueryRows(*ending, database.column_names, rows, execution.rows, execution.error_class)
