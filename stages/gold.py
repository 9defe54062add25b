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
from pathlib import Path

import apsw
import polars as pl
from pydantic import Field

from stages.errors import run_stage
from stages.files import fingerprint, remove_folder, sha256_file, work_folder, write_json
from stages.params import Params, read_params
from stages.receipts import require_receipts
from stages.sql.compare import Result, Row, digest
from stages.sql.judge import HANG_GRACE_SECONDS
from stages.sql.pool import Job, Record, run, usable_cpus, worker_count
from stages.sql.sandbox import Execution, Limits, OpenDatabases, check_databases, limit_process
from stages.sql.text import orders, ties_reversed
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


def audit(
    questions: pl.DataFrame, databases: Path, params: GoldParams, workers: int, log: Path | None = None
) -> list[Record]:
    """For each question the values of its gold row, and `audited`: whether the second run came to its end.

    Equal queries of a database are executed once. `log`: finished work that a killed run goes on from.
    """
    pairs = list(questions.select("db_id", "gold_sql").iter_rows())
    distinct = sorted(set(pairs))
    job = Job(
        make_work=partial(_make_work, databases, params),
        patience=2 * params.wall_seconds + HANG_GRACE_SECONDS,
        lost=lambda pair: _record(Execution("undecided", 0, 0, error="its process was lost twice", error_class="lost")),
        again=lambda record: bool(record["again"]),
    )
    records = dict(zip(distinct, run(job, distinct, workers, log, label="gold"), strict=True))
    return [records[pair] for pair in pairs]


def _make_work(databases: Path, params: GoldParams) -> Callable[[tuple[str, str]], Record]:
    limit_process(params.memory_mb)
    return partial(_audited, OpenDatabases(databases), params.step_budget, params.limits())


def _audited(databases: OpenDatabases, budget: int, limits: Limits, pair: tuple[str, str]) -> Record:
    db_id, sql = pair
    try:
        forward = databases.get(db_id).execute(sql, budget, limits)
        if forward.result is None:
            return _record(forward)
        other = databases.get(db_id, other_way=True)
        backward = other.execute(ties_reversed(sql), 4 * budget, limits)  # the other way may take more steps
        return _record(forward, flags_of(sql, forward.result, backward.result), backward.result is not None)
    except MemoryError:
        return _record(Execution("undecided", 0, 0, error="out of memory", error_class="memory"))


def flags_of(sql: str, forward: Result, backward: Result | None) -> list[str]:
    """The audit flags, sorted, of a query from its result and that of the second run (None: it had none)."""
    flags = [] if forward.rows else ["empty"]
    if backward is None:
        return flags
    there, back = _rounded(forward.rows), _rounded(backward.rows)
    if Counter(there) != Counter(back):
        flags.append("limit_tie")
    elif there != back and orders(sql):
        flags.append("order_unstable")
    return flags


def _rounded(rows: list[Row]) -> list[Row]:
    return [tuple(float(f"{cell:.12g}") if isinstance(cell, float) else cell for cell in row) for row in rows]


def _record(execution: Execution, flags: Sequence[str] = (), audited: bool = True) -> Record:
    result = execution.result
    return {
        "verdict": "exec_error" if execution.status == "no_sql" else execution.status,
        "error": execution.error,
        "steps": execution.steps,
        "rows": len(result.rows) if result else None,
        "columns": result.columns if result else None,
        "digest": digest(result) if result else None,
        "flags": ",".join(flags),
        "audited": audited,
        "again": execution.error_class in ("time", "memory"),
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
    parser.add_argument("--workers", type=worker_count, default=usable_cpus(), help="number of processes")
    arguments = parser.parse_args()
    params = read_params("gold", GoldParams)

    require_receipts({arguments.questions_receipt: arguments.questions})
    questions = read_table(arguments.questions, "questions")
    paths = check_databases(questions["db_id"], arguments.databases)
    hashes = {db_id: sha256_file(path) for db_id, path in paths.items()}
    key = fingerprint(params, sha256_file(arguments.questions), hashes, apsw.sqlite_lib_version())
    work = work_folder(arguments.gold, key)
    records = audit(questions, arguments.databases, params, arguments.workers, work / "done.jsonl")

    rows = [{"question_id": name, **record} for name, record in zip(questions["question_id"], records, strict=True)]
    write_table(pl.DataFrame(rows, schema=COLUMNS["gold"]), arguments.gold, "gold")
    write_json(arguments.report, report_of(questions, records))
    remove_folder(work)


if __name__ == "__main__":
    run_stage(main)
