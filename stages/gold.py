"""Stage `gold`: executes every gold query and audits it.

A second run lets what the query leaves open fall out otherwise: rows tied in an ORDER BY and tables scanned without one
come the other way round. Flags: `empty`: no rows; `limit_tie`: the bag of rows changes then (a LIMIT cuts through a
tie); `order_unstable`: it has an outermost ORDER BY, and only the order of its rows changes. Floats are held equal to
12 digits there: the order of summing moves the last ones. Not found: ties in the ORDER BY of a UNION, EXCEPT or
INTERSECT, and the values of columns that a GROUP BY leaves open.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

import apsw
import polars as pl
from pydantic import Field

from stages.errors import run_stage
from stages.files import fingerprint, write_json
from stages.params import Params, read_params
from stages.receipts import require_receipts
from stages.sql.audit import flags_of
from stages.sql.cache import Cache
from stages.sql.compare import digest
from stages.sql.flags import add_execution_flags, engine_of
from stages.sql.judge import HANG_GRACE_SECONDS, code_sha256
from stages.sql.pool import Engine, Job, Kept, Record, run
from stages.sql.process import limit_process
from stages.sql.sandbox import Execution, Limits, OpenDatabases, check_databases, database_path, database_sha256
from stages.sql.text import ties_reversed
from stages.sql.verdicts import MACHINE_MADE
from stages.tables import COLUMNS, read_table, write_table

VERDICTS = ("ok", "exec_error", "over_budget", "undecided")
FLAGS = ("empty", "limit_tie", "order_unstable")


class GoldParams(Params):
    """Section `gold` of params.yaml."""

    step_budget: int = Field(gt=0)
    wall_seconds: float = Field(gt=0)
    memory_mb: int = Field(ge=64)
    max_rows: int = Field(gt=0)
    result_mb: int = Field(gt=0)

    def limits(self) -> Limits:
        return Limits(self.wall_seconds, self.memory_mb, self.max_rows, self.result_mb)


Query = tuple[str, str]
"""A database file and a query."""


def audit(
    questions: pl.DataFrame, databases: Path, params: GoldParams, engine: Engine[Query], cache: Cache | None = None
) -> list[Record]:
    """For each question the values of its gold row, and `audited`: whether the second run came to its end.

    Equal queries of a database are executed once.
    """
    columns = questions.select("db_id", "gold_sql").iter_rows()
    queries = [(str(database_path(databases, db_id).absolute()), sql) for db_id, sql in columns]
    distinct = sorted(set(queries))
    job = Job(
        make_work=partial(_make_work, params),
        patience=2 * params.wall_seconds + HANG_GRACE_SECONDS,
        lost=lambda query: _record(Execution("undecided", 0, error="its process was lost twice", error_class="lost")),
        again=lambda record: bool(record["again"]),
    )
    kept = Kept(cache, partial(_key, params), _lasting) if cache else None
    records = dict(zip(distinct, run(job, distinct, engine, kept, label="gold"), strict=True))
    return [records[query] for query in queries]


def _key(params: GoldParams, query: Query) -> bytes:
    """What a record depends on, hashed: see `stages.sql.cache`."""
    database, sql = query
    code = code_sha256(Path(__file__))
    known = fingerprint("gold", params.model_dump(), apsw.sqlite_lib_version(), code, database_sha256(database), sql)
    return bytes.fromhex(known)[:20]


def _lasting(record: Record) -> bool:
    return not record["again"] and record["audited"]


def _make_work(params: GoldParams) -> Callable[[Query], Record]:
    limit_process(params.memory_mb)
    return partial(_audited, OpenDatabases(), params.step_budget, params.limits())


def _audited(databases: OpenDatabases, budget: int, limits: Limits, query: Query) -> Record:
    database, sql = query
    try:
        forward = databases.get(database).execute(sql, budget, limits)
        if forward.result is None:
            return _record(forward)
        other = databases.get(database, other_way=True)
        backward = other.execute(ties_reversed(sql), 4 * budget, limits)  # the other way may take more steps
        return _record(forward, flags_of(sql, forward.result, backward.result), backward.result is not None)
    except MemoryError:
        return _record(Execution("undecided", 0, error="out of memory", error_class="memory"))


def _record(execution: Execution, flags: Sequence[str] = (), audited: bool = True) -> Record:
    result = execution.result
    return {
        "verdict": "exec_error" if execution.status == "no_sql" else execution.status,
        "error": execution.error,
        "steps": None if execution.error_class in MACHINE_MADE else execution.steps,
        "rows": len(result.rows) if result else None,
        "columns": result.columns if result else None,
        "digest": digest(result) if result else None,
        "flags": ",".join(flags),
        "audited": audited,
        "again": execution.error_class in MACHINE_MADE,
    }


def report_of(questions: pl.DataFrame, records: Sequence[Record]) -> dict[str, object]:
    """Counts in and out, per verdict and per flag; `not_audited`: golds whose second run met a limit or failed."""
    verdicts = Counter(record["verdict"] for record in records)
    flags = Counter(flag for record in records for flag in record["flags"].split(",") if flag)
    return {
        "questions_in": len(questions),
        "rows_out": len(records),
        "verdicts": {verdict: verdicts[verdict] for verdict in VERDICTS},
        "flags": {flag: flags[flag] for flag in FLAGS},
        "not_audited": sum(not record["audited"] for record in records),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Executes and audits every gold query.")
    for name in ("questions", "questions-receipt", "databases", "gold", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    add_execution_flags(parser)
    arguments = parser.parse_args()
    params = read_params("gold", GoldParams)

    require_receipts({arguments.questions_receipt: arguments.questions})
    questions = read_table(arguments.questions, "questions")
    check_databases(questions["db_id"], arguments.databases)
    records = audit(questions, arguments.databases, params, engine_of(arguments, itemgetter(0)), Cache(arguments.cache))

    rows = [{"question_id": name, **record} for name, record in zip(questions["question_id"], records, strict=True)]
    write_table(pl.DataFrame(rows, schema=COLUMNS["gold"]), arguments.gold, "gold")
    write_json(arguments.report, report_of(questions, records))


if __name__ == "__main__":
    run_stage(main)
