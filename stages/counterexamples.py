"""Stage `counterexamples`: tries every candidate that matches its gold on counterexample databases.

They are few real rows of the question's database, changed within the rules that its data keeps. A candidate that does
not return there what the gold returns matched by accident. Its row has the witness: the database and the first row that
differs. The databases are made in memory and are never written; the seed makes them again.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from pydantic import Field

from stages.cache.result_cache import Cache
from stages.core.end_line import counts_text, write_report
from stages.core.errors import run_stage
from stages.core.params import Params, read_params
from stages.core.receipts import open_datasets
from stages.core.tables import write_dataset
from stages.databases.paths import check_databases
from stages.datasets.counterexamples import COUNTEREXAMPLES, WITNESS_CLASSES
from stages.datasets.exec_results import EXEC_RESULTS
from stages.datasets.questions import QUESTIONS
from stages.execution.cli_flags import add_execution_flags, engine_of
from stages.execution.comparison import Contract
from stages.execution.params import ExecutionParams
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import Executor
from stages.mutation.findings import Findings, Question, Settings
from stages.mutation.witnesses import find_witnesses


class CounterexamplesParams(Params):
    """Section `counterexamples` of params.yaml."""

    seed: int = Field(ge=0, lt=2**63)
    mutants: int = Field(gt=0, le=1000)
    step_budget: int = Field(gt=0, le=10**12)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.counterexamples", description=__doc__)
    add_execution_flags(parser)
    args = parser.parse_args()
    params = read_params("counterexamples", CounterexamplesParams)
    limits = read_params("execution", ExecutionParams).limits()
    questions, results = open_datasets(QUESTIONS, EXEC_RESULTS)
    settings = settings_of(params, results["contract"][0], limits)
    matches = results.filter(pl.col("verdict") == "match")
    table, findings = try_matches(matches, questions, settings, engine_of(args), Cache(args.cache))
    write_dataset(table, COUNTEREXAMPLES)
    report = report_of(matches, table, findings)
    figures = f"{report['right_by_accident']:,} right by accident", counts_text(report["class"])
    write_report("counterexamples", report, table.height, {}, *figures)


def settings_of(params: CounterexamplesParams, contract: Contract, limits: Limits) -> Settings:
    """How witnesses are searched for. `contract`: what the matches matched under."""
    return Settings(contract, params.seed, params.mutants, params.step_budget, limits)


def try_matches(
    matches: pl.DataFrame, questions: pl.DataFrame, settings: Settings, executor: Executor[Question, Findings],
    cache: Cache,
) -> tuple[pl.DataFrame, list[Findings]]:  # fmt: skip
    """The rows of `counterexamples` for `matches`, rows of `exec_results`; and the findings of each of their questions.
    Raises UserError where a database is missing."""
    searched = questions_of(matches, questions)
    findings = find_witnesses(list(searched.values()), settings, executor, cache)
    return witness_rows(matches, searched, findings, settings.seed), findings


def questions_of(matches: pl.DataFrame, questions: pl.DataFrame) -> dict[str, Question]:
    """question_id to what is searched: the gold query and the distinct texts that match it. `matches`: rows of
    `exec_results`. Raises UserError where a database is missing."""
    texts = matches.group_by("question_id").agg(pl.col("sql").unique().sort()).sort("question_id")
    columns = questions.select("question_id", "db_id", "gold_sql")
    rows = texts.join(columns, on="question_id", how="left", maintain_order="left")
    paths = check_databases(rows["db_id"])
    return {
        question_id: Question(str(paths[db_id].absolute()), gold_sql, tuple(sqls))
        for question_id, sqls, db_id, gold_sql in rows.select("question_id", "sql", "db_id", "gold_sql").iter_rows()
    }


def witness_rows(
    matches: pl.DataFrame, questions: Mapping[str, Question], findings: Sequence[Findings], seed: int
) -> pl.DataFrame:
    """The dataset: a row for each of `matches`. `findings`: of each of `questions`, in their order."""
    rows = list(_rows(questions, findings, seed))
    own = {name: dtype for name, dtype in COUNTEREXAMPLES.columns.items() if name != "candidate_id"}
    table = pl.DataFrame(rows, schema={**own, "sql": pl.String}, orient="row")
    joined = matches.select("candidate_id", "question_id", "sql").join(table, on=["question_id", "sql"], how="left")
    return joined.select(*COUNTEREXAMPLES.columns)


def _rows(
    questions: Mapping[str, Question], findings: Sequence[Findings], seed: int
) -> Iterator[tuple[str | int | None, ...]]:
    for (question_id, question), each in zip(questions.items(), findings, strict=True):
        for sql, finding in zip(question.candidates, each.candidates, strict=True):
            witness = json.dumps({"seed": seed} | finding.witness, ensure_ascii=False) if finding.witness else None
            yield question_id, finding.kind, finding.tried, each.void, finding.number, witness, sql


def report_of(matches: pl.DataFrame, table: pl.DataFrame, findings: Sequence[Findings]) -> dict[str, Any]:
    """Counts of candidates by class; of questions, and why some were not tested; of mutants; and of neighbours of the
    golds: the share of them that was parted from their gold says what it means to survive."""
    classes = Counter(table["class"])
    return {
        "in": matches.height,
        "out": table.height,
        "class": {name: classes[name] for name in WITNESS_CLASSES},
        "right_by_accident": table["witness"].count(),
        "questions": {
            "in": len(findings),
            "with_witness": table.filter(pl.col("witness").is_not_null())["question_id"].n_unique(),
        },
        "no_mutants": dict(sorted(Counter(each.problem for each in findings if each.problem).items())),
        "mutants": {"kept": sum(each.kept for each in findings), "void": sum(each.void for each in findings)},
        "neighbours": {
            "executed": sum(each.neighbours for each in findings), "parted": sum(each.parted for each in findings)
        },
    }  # fmt: skip


if __name__ == "__main__":
    run_stage(main)
