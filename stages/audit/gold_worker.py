"""Executes gold queries and audits them, in the worker pool and the sandbox."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from operator import attrgetter, itemgetter

import apsw

from stages.audit.query_checks import Auditor, Findings
from stages.cache.result_cache import Cache
from stages.core.files import fingerprint, sha256_code
from stages.datasets.verdicts import NONDETERMINISTIC_ERRORS, GoldVerdict
from stages.execution.comparison import digest
from stages.execution.judge import HANG_GRACE_SECONDS, LOST, ROOMS
from stages.execution.process_limits import limit_process
from stages.execution.sandbox import Execution, Limits, OpenDatabases
from stages.execution.worker_pool import CachedBy, Executor, Heartbeat, Job, run
from stages.sql.text import cut_if_too_long, is_too_long, orders

Query = tuple[str, str]
"""A database file and a query."""


@dataclass(frozen=True, slots=True)
class GoldRecord:
    """The row of the gold dataset for a query, with the findings of its audit. `audited`: whether every variant that
    the audit runs came to its end; `nondeterministic`: time, memory or the disk ended the query or a variant, so
    another run may show something else."""

    verdict: GoldVerdict
    error: str | None
    steps: int | None
    rows: int | None
    columns: int | None
    digest: str | None
    findings: Findings = field(default_factory=dict)
    audited: bool = True
    nondeterministic: bool = False


def audit(
    queries: Sequence[Query], budget: int, limits: Limits, executor: Executor[Query, GoldRecord],
    cache: Cache | None = None,
) -> list[GoldRecord]:  # fmt: skip
    """The record of each query, in their order; equal ones are executed once.

    `budget`: VM steps that a query may take. The databases must exist.
    """
    return _records(queries, _Settings(budget, limits), executor, cache)


def unstable_orders(
    queries: Iterable[Query], budget: int, limits: Limits, executor: Executor[Query, GoldRecord], cache: Cache
) -> set[Query]:
    """The queries whose outermost ORDER BY leaves the order of some rows open (flag `order_unstable`). Only this is
    audited; `budget` is that of `audit`."""
    ordering = [query for query in queries if not is_too_long(query[1]) and orders(query[1])]
    if not ordering:
        return set()
    records = _records(ordering, _Settings(budget, limits, only_ties=True), executor, cache)
    return {query for query, record in zip(ordering, records, strict=True) if "order_unstable" in record.findings}


@dataclass(frozen=True, slots=True)
class _Settings:
    """How a query is audited. `only_ties`: the only variants that run are those that break ties otherwise."""

    budget: int
    limits: Limits
    only_ties: bool = False


def _records(
    queries: Sequence[Query], settings: _Settings, executor: Executor[Query, GoldRecord], cache: Cache | None
) -> list[GoldRecord]:
    queries = [(database, cut_if_too_long(sql)) for database, sql in queries]
    distinct = sorted(set(queries))
    job = Job(
        make_work=partial(_make_work, settings),
        encode=attrgetter(*GoldRecord.__slots__),
        decode=lambda values: GoldRecord(*values),
        file=itemgetter(0),
        size=lambda query: len(query[1]),
        stall_seconds=2 * settings.limits.wall_seconds + HANG_GRACE_SECONDS,
        lost=lambda query: _record(Execution("undecided", 0, error=LOST, error_class="lost")),
        nondeterministic=attrgetter("nondeterministic"),
    )
    cached = CachedBy(cache, partial(_key, settings, cache)) if cache else None
    records = dict(zip(distinct, run(job, distinct, executor, cached, label="gold"), strict=True))
    return [records[query] for query in queries]


def _key(settings: _Settings, store: Cache, query: Query) -> bytes:
    """What a record depends on, hashed: see `stages.cache.result_cache`."""
    database, sql = query
    decided_by = (asdict(settings), apsw.sqlite_lib_version(), sha256_code(*ROOMS, "audit"))
    return bytes.fromhex(fingerprint("gold", decided_by, store.sha256(database), sql))[:20]


def _make_work(settings: _Settings, heartbeat: Heartbeat) -> Callable[[Query], GoldRecord]:
    limit_process(settings.limits.memory_mb)
    return partial(_audited, OpenDatabases(heartbeat), settings)


def _audited(databases: OpenDatabases, settings: _Settings, query: Query) -> GoldRecord:
    database, sql = query
    try:
        forward = databases.get(database).execute(sql, settings.budget, settings.limits)
        record = _record(forward)
    except MemoryError:
        return _record(Execution("undecided", 0, error="out of memory", error_class="memory"))
    if forward.result is None:
        return record
    auditor = Auditor(databases.get(database, reverse_unspecified_order=True), settings.budget, settings.limits)
    try:
        findings = (auditor.ties if settings.only_ties else auditor.findings)(sql, forward.result)
    except MemoryError:
        return replace(record, audited=False, nondeterministic=True)
    return replace(record, findings=findings, audited=auditor.complete, nondeterministic=auditor.nondeterministic)


def _record(execution: Execution) -> GoldRecord:
    result, nondeterministic = execution.result, execution.error_class in NONDETERMINISTIC_ERRORS
    return GoldRecord(
        verdict="exec_error" if execution.status == "no_sql" else execution.status,
        error=execution.error,
        steps=None if nondeterministic else execution.steps,
        rows=len(result.rows) if result else None,
        columns=result.columns if result else None,
        digest=digest(result) if result else None,
        nondeterministic=nondeterministic,
    )
