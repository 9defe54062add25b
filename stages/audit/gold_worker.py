"""Executes gold queries and audits them, in the worker pool and the sandbox."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import apsw

from stages.cache.result_cache import Cache
from stages.core.files import fingerprint, sha256_code
from stages.datasets.verdicts import MACHINE_MADE
from stages.execution.comparison import digest
from stages.execution.judge import HANG_GRACE_SECONDS, LOST, ROOMS
from stages.execution.process_limits import limit_process
from stages.execution.query_checks import Auditor
from stages.execution.sandbox import Execution, Limits, OpenDatabases
from stages.execution.worker_pool import Beat, Engine, Job, Kept, Record, run
from stages.sql.text import cut_if_too_long

Query = tuple[str, str]
"""A database file and a query."""


def audit(
    queries: Sequence[Query], budget: int, limits: Limits, engine: Engine[Query], cache: Cache | None = None
) -> list[Record]:
    """For each query what the gold dataset says of it (`findings` as an object) and `audited`: whether every form of it
    that the audit runs came to its end.

    Equal ones are executed once. `budget`: VM steps that a query may take. The databases must be there.
    """
    queries = [(database, cut_if_too_long(sql)) for database, sql in queries]
    distinct = sorted(set(queries))
    job = Job(
        make_work=partial(_make_work, budget, limits),
        file=_database_of,
        size=_size,
        patience=2 * limits.wall_seconds + HANG_GRACE_SECONDS,
        lost=lambda query: _record(Execution("undecided", 0, error=LOST, error_class="lost")),
        again=_again,
    )
    kept = Kept(cache, partial(_key, budget, limits, cache), lambda record: not _again(record)) if cache else None
    records = dict(zip(distinct, run(job, distinct, engine, kept, label="gold"), strict=True))
    return [records[query] for query in queries]


def _database_of(query: Query) -> str:
    return query[0]


def _size(query: Query) -> int:
    return len(query[1])


def _key(budget: int, limits: Limits, store: Cache, query: Query) -> bytes:
    """What a record depends on, hashed: see `stages.cache.result_cache`."""
    database, sql = query
    decided_by = (budget, asdict(limits), apsw.sqlite_lib_version(), sha256_code(*ROOMS, "audit"))
    known = fingerprint("gold", decided_by, store.sha256(database), sql)
    return bytes.fromhex(known)[:20]


def _again(record: Record) -> bool:
    return bool(record["again"])


def _make_work(budget: int, limits: Limits, beat: Beat) -> Callable[[Query], Record]:
    limit_process(limits.memory_mb)
    return partial(_audited, OpenDatabases(beat), budget, limits)


def _audited(databases: OpenDatabases, budget: int, limits: Limits, query: Query) -> Record:
    database, sql = query
    try:
        forward = databases.get(database).execute(sql, budget, limits)
        record = _record(forward)
    except MemoryError:
        return _record(Execution("undecided", 0, error="out of memory", error_class="memory"))
    if forward.result is None:
        return record
    auditor = Auditor(databases.get(database, other_way=True), budget, limits)
    try:
        findings = auditor.findings(sql, forward.result)
    except MemoryError:
        return record | {"audited": False, "again": True}
    return record | {"findings": findings, "audited": auditor.complete, "again": auditor.machine_made}


def _record(execution: Execution) -> Record:
    result = execution.result
    return {
        "verdict": "exec_error" if execution.status == "no_sql" else execution.status,
        "error": execution.error,
        "steps": None if execution.error_class in MACHINE_MADE else execution.steps,
        "rows": len(result.rows) if result else None,
        "columns": result.columns if result else None,
        "digest": digest(result) if result else None,
        "findings": {},
        "audited": True,
        "again": execution.error_class in MACHINE_MADE,
    }
