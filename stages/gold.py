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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from stages.audit.gold_worker import GoldRecord, Query, audit
from stages.audit.query_checks import Findings
from stages.audit.question_checks import AuditedQuestion, question_findings
from stages.audit.report import page_of, summary_of
from stages.cache.result_cache import Cache
from stages.core.end_line import counts_text, write_report
from stages.core.errors import run_stage
from stages.core.files import write_text
from stages.core.layout import report_file
from stages.core.params import Params, read_params
from stages.core.receipts import open_dataset
from stages.core.tables import write_dataset
from stages.databases.paths import check_databases
from stages.datasets.gold import GOLD
from stages.datasets.questions import QUESTIONS, TEST_SET
from stages.datasets.verdicts import GoldFlag
from stages.execution.cli_flags import add_execution_flags, engine_of
from stages.execution.judge import judge
from stages.execution.params import ExecutionParams
from stages.execution.records import Budget, GoldQuestion, Rules


class GoldParams(Params):
    """Section `gold` of params.yaml."""

    step_budget: int = Field(gt=0, le=10**12)


class DropFlags(BaseModel):
    """What the page says of sections `sft` and `pairs`: the flags that keep a question out."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    drop_flags: list[GoldFlag]


def audited_questions(
    questions: pl.DataFrame, queries: Sequence[Query], records: Sequence[GoldRecord]
) -> list[AuditedQuestion]:
    """The questions with what the audit of their query showed, sorted by question_id."""
    columns = questions.select("question_id", TEST_SET, "split", "db_id", "question", "evidence", "other_golds")
    audited = []
    for row, (path, sql), record in zip(columns.iter_rows(), queries, records, strict=True):
        question_id, test_set, split, db_id, question, evidence, other_golds = row
        judged = GoldQuestion(path, sql, record.verdict, record.steps or 0, ",".join(record.findings))
        audited.append(AuditedQuestion(question_id, test_set, split, db_id, question, evidence, other_golds, judged))
    return sorted(audited, key=lambda question: question.question_id)


def gold_rows(
    question_ids: Sequence[str], records: Sequence[GoldRecord], findings: Mapping[str, Findings]
) -> pl.DataFrame:
    """The rows of `gold`: what each record says, with the findings against the question after those of its query."""
    rows = []
    for question_id, record in zip(question_ids, records, strict=True):
        flags = {**record.findings, **findings[question_id]}
        evidence = json.dumps(flags, ensure_ascii=False) if flags else ""
        rows.append({"question_id": question_id, **asdict(record), "flags": ",".join(flags), "findings": evidence})
    return pl.DataFrame(rows, schema=GOLD.columns)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.gold", description="Executes and audits every gold query.")
    add_execution_flags(parser)
    args = parser.parse_args()
    budget = read_params("gold", GoldParams).step_budget
    limits = read_params("execution", ExecutionParams).limits()
    drop_flags = {section: read_params(section, DropFlags).drop_flags for section in ("sft", "pairs")}
    questions = open_dataset(QUESTIONS)
    paths = check_databases(questions["db_id"])
    cache, executor = Cache(args.cache), engine_of(args)

    rows = questions.select("db_id", "gold_sql").iter_rows()
    queries = [(str(paths[db_id].absolute()), sql) for db_id, sql in rows]
    records = audit(queries, budget, limits, executor, cache)
    rules = Rules("strict", Budget(budget, factor=1), limits)  # of another gold of a question: by the limits of both
    findings, counts = question_findings(
        audited_questions(questions, queries, records),
        lambda items: judge(items, rules, executor, cache, "other golds"),
    )

    gold = gold_rows(questions["question_id"].to_list(), records, findings)
    write_dataset(gold, GOLD)
    summary = summary_of(questions, gold, sum(not record.audited for record in records))
    write_text(report_file("gold").with_suffix(".html"), page_of(questions, gold, counts, drop_flags))
    flags = Counter(flag for row in gold["flags"] for flag in row.split(",") if flag)
    figures = counts_text(Counter(gold["verdict"])), f"flags: {counts_text(flags) or 'none'}"
    write_report("gold", {**summary, **counts}, gold.height, {}, *figures)


if __name__ == "__main__":
    run_stage(main)
