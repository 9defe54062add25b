"""Stage `gold`: executes every gold query and audits it, each finding with its evidence.

Each query is run in other forms too, on a connection where tables that are scanned without an ORDER BY come backwards:
- `empty`: it returns no row;
- `limit_tie`: rows that an ORDER BY leaves tied, or that a LIMIT takes from without one, come in two other orders, and
  the bag of rows changes: a LIMIT cuts through a tie, mostly; else the order in a window or group_concat is open, or a
  scalar subquery takes one of several rows; `order_unstable`: it has an outermost ORDER BY, and only the order of its
  rows changes. Floats are held equal to 12 digits: the order of summing moves the last ones;
- `text_number_sort`: numbers that are kept as text are compared as numbers in ORDER BY, min() and max(), and the rows
  change (their order too if the query orders);
- `null_first`: NULL comes last in every ascending ORDER BY, and the bag of rows changes (a LIMIT took a NULL).
The findings against questions, and what leaks from train, are those of `stages.audit.question_checks`.

Not found: ties in the ORDER BY or LIMIT of a UNION, EXCEPT or INTERSECT, in a named window, in one whose frame leaves
out tied rows, or in a view; a LIMIT without ORDER BY in a query that orders elsewhere; the values of columns that a
GROUP BY, or a DISTINCT ordered by another column, leaves open; numbers kept as text that are compared by `<` or
BETWEEN, sorted beside mostly other texts in the same query, have an exponent or a unit, or stand in a column beside
stored numbers; NULL first where the rows do not change by it. Where SQLite does not run another form (of some UNIONs
that order by an alias) the gold counts as not audited. A flag says what changes, not that the gold is wrong: the first
row may be meant to be one with NULL.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
from pydantic import Field

from stages.audit.gold_worker import Query, audit
from stages.audit.question_checks import Asked, question_findings
from stages.audit.report import page_of, summary_of
from stages.cache.result_cache import Cache
from stages.core.errors import run_stage
from stages.core.files import write_json, write_text
from stages.core.params import Params, read_params
from stages.core.receipts import require_receipts
from stages.core.tables import COLUMNS, read_table, write_table
from stages.databases.paths import check_databases, database_path
from stages.datasets.questions import TEST_SET
from stages.execution.cli_flags import add_execution_flags, engine_of
from stages.execution.judge import judge
from stages.execution.query_checks import Findings
from stages.execution.sandbox import Limits
from stages.execution.worker import Budget, Question, Rules
from stages.execution.worker_pool import Record


class GoldParams(Params):
    """Section `gold` of params.yaml."""

    step_budget: int = Field(gt=0, le=10**12)
    wall_seconds: float = Field(gt=0, le=86_400)
    memory_mb: int = Field(ge=64, le=10**6)
    max_rows: int = Field(gt=0, le=10**8)
    result_mb: int = Field(gt=0, le=10**5)

    def limits(self) -> Limits:
        return Limits(self.wall_seconds, self.memory_mb, self.max_rows, self.result_mb)

    def rules(self) -> Rules:
        """How another gold of a question is judged against its gold: by the limits of both."""
        return Rules("strict", Budget(self.step_budget, factor=1), self.limits())


def asked_of(questions: pl.DataFrame, queries: Sequence[Query], records: Sequence[Record]) -> list[Asked]:
    """The questions with what the audit of their query showed, sorted by question_id."""
    columns = questions.select("question_id", TEST_SET, "split", "db_id", "question", "evidence", "other_golds")
    asked = []
    for row, (path, sql), record in zip(columns.iter_rows(), queries, records, strict=True):
        question_id, test_set, split, db_id, question, evidence, other_golds = row
        judged = Question(path, sql, record["verdict"], record["steps"] or 0, ",".join(record["findings"]))
        asked.append(Asked(question_id, test_set, split, db_id, question, evidence, other_golds, judged))
    return sorted(asked, key=lambda one: one.question_id)


def gold_rows(
    question_ids: Sequence[str], records: Sequence[Record], findings: Mapping[str, Findings]
) -> pl.DataFrame:
    """The rows of `gold`: what each record says, with the findings against the question after those of its query."""
    rows = []
    for question_id, record in zip(question_ids, records, strict=True):
        found = {**record["findings"], **findings[question_id]}
        told = json.dumps(found, ensure_ascii=False) if found else ""
        rows.append({"question_id": question_id, **record, "flags": ",".join(found), "findings": told})
    return pl.DataFrame(rows, schema=COLUMNS["gold"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.gold", description="Executes and audits every gold query.")
    for name in ("questions", "questions-receipt", "databases", "gold", "report", "page"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    add_execution_flags(parser)
    args = parser.parse_args()
    params = read_params("gold", GoldParams)

    require_receipts({args.questions_receipt: args.questions})
    questions = read_table(args.questions, "questions")
    check_databases(questions["db_id"], args.databases)
    cache = Cache(args.cache)
    columns = questions.select("db_id", "gold_sql").iter_rows()
    queries = [(str(database_path(args.databases, db_id).absolute()), sql) for db_id, sql in columns]
    records = audit(queries, params.step_budget, params.limits(), engine_of(args), cache)
    findings, counts = question_findings(
        asked_of(questions, queries, records),
        lambda items: judge(items, params.rules(), engine_of(args), cache, "other golds"),
    )

    gold = gold_rows(questions["question_id"].to_list(), records, findings)
    write_table(gold, args.gold, "gold")
    summary = summary_of(questions, gold, sum(not record["audited"] for record in records))
    write_json(args.report, {**summary, **counts})
    write_text(args.page, page_of(questions, gold, counts))


if __name__ == "__main__":
    run_stage(main)
