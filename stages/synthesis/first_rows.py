"""The first rows of queries, read in the sandbox: what a model is shown of a result that is to be repaired."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from stages.audit.gold_worker import Query
from stages.execution.comparison import Row
from stages.execution.judge import HANG_GRACE_SECONDS
from stages.execution.process_limits import limit_process
from stages.execution.sandbox import Limits, OpenDatabases
from stages.execution.worker_pool import Executor, Heartbeat, Job, run

_ROWS = 5
_CHARACTERS = 200  # of a row


def first_rows(
    queries: Sequence[Query], budget: int, limits: Limits, executor: Executor[Query, list[str]]
) -> list[list[str]]:
    """The first rows of each query, each as one line. `budget`: VM steps that a query may take."""
    job: Job[Query, list[str]] = Job(
        make_work=partial(_make_work, budget, limits),
        encode=_same,
        decode=_same,
        file=itemgetter(0),
        size=lambda query: len(query[1]),
        stall_seconds=2 * limits.wall_seconds + HANG_GRACE_SECONDS,
        lost=lambda query: [],
        nondeterministic=lambda rows: False,
    )
    return run(job, queries, executor, label="first rows") if queries else []


def _same(value: Any) -> Any:
    return value


def _make_work(budget: int, limits: Limits, heartbeat: Heartbeat) -> Callable[[Query], list[str]]:
    limit_process(limits.memory_mb)
    return partial(_read, OpenDatabases(heartbeat), budget, limits)


def _read(databases: OpenDatabases, budget: int, limits: Limits, query: Query) -> list[str]:
    database, sql = query
    try:
        execution = databases.get(database).execute(sql, budget, limits, _enough)
    except MemoryError:
        return []
    return [", ".join(map(repr, row))[:_CHARACTERS] for row in execution.read.rows[:_ROWS]]


def _enough(columns: int, block: list[Row], count: int) -> bool:
    return count >= _ROWS
