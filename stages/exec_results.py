"""Stage `exec_results`: executes every candidate and gives it its verdict against the gold."""

import argparse

import apsw
import polars as pl
from pydantic import Field

from stages.cache.result_cache import Cache
from stages.core.end_line import counts_text, write_report
from stages.core.errors import UserError, run_stage
from stages.core.params import Params, read_params
from stages.core.receipts import open_datasets
from stages.core.tables import write_dataset
from stages.databases.paths import check_databases
from stages.datasets.candidates import CANDIDATES
from stages.datasets.exec_results import EXEC_RESULTS
from stages.datasets.gold import GOLD
from stages.datasets.questions import QUESTIONS
from stages.execution.cli_flags import add_execution_flags, engine_of
from stages.execution.comparison import Contract
from stages.execution.gold_questions import read_questions
from stages.execution.judge import judge
from stages.execution.params import ExecutionParams
from stages.execution.records import DIGEST_ROWS, Budget, Item, Outcome, Rules
from stages.execution.summary import outcome_columns, summary
from stages.execution.worker_pool import Executor


class ExecResultsParams(Params):
    """Section `exec_results` of params.yaml."""

    contract: Contract
    budget_floor: int = Field(gt=0, le=10**12)
    budget_factor: int = Field(gt=0, le=10**6)


def candidates_with_questions(candidates: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    """Candidates with their question's db_id, source and difficulty. Raises UserError where a question is not there."""
    columns = questions.select("question_id", "db_id", "source", "difficulty")
    joined = candidates.join(columns, on="question_id", how="left", maintain_order="left")
    strangers = joined.filter(pl.col("db_id").is_null())["question_id"].unique().sort().to_list()
    if strangers:
        raise UserError(
            f"candidates answer {len(strangers)} questions that are not in questions (the first: {strangers[0]}); "
            "run `dvc repro candidates` to make them again"
        )
    return joined


def judge_candidates(
    questions: pl.DataFrame, gold: pl.DataFrame, candidates: pl.DataFrame, rules: Rules,
    executor: Executor[Item, Outcome], cache: Cache,
) -> pl.DataFrame:  # fmt: skip
    """The rows of `exec_results` for these candidates, with the source and difficulty of their questions. Raises
    UserError where data does not fit together, or a database is missing."""
    golds = read_questions(questions, gold)
    candidates = candidates_with_questions(candidates, questions)
    paths = check_databases(candidates["db_id"])
    items = [(golds[question_id], sql) for question_id, sql in candidates.select("question_id", "sql").iter_rows()]
    outcomes = judge(items, rules, executor, cache)
    hashes = {db_id: cache.sha256(str(path)) for db_id, path in paths.items()}
    return candidates.with_columns(
        *outcome_columns(outcomes),
        db_sha256=pl.col("db_id").replace_strict(hashes, return_dtype=pl.String),
        contract=pl.lit(rules.contract),
        sqlite_version=pl.lit(apsw.sqlite_lib_version()),
    )


def rules_of(params: ExecResultsParams, nets: ExecutionParams) -> Rules:
    """How candidates are judged."""
    return Rules(params.contract, Budget(params.budget_floor, params.budget_factor), nets.limits(), DIGEST_ROWS)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.exec_results", description="Executes every candidate and gives it its verdict."
    )
    add_execution_flags(parser)
    args = parser.parse_args()
    params, nets = read_params("exec_results", ExecResultsParams), read_params("execution", ExecutionParams)
    questions, gold, candidates = open_datasets(QUESTIONS, GOLD, CANDIDATES)
    rules, executor, cache = rules_of(params, nets), engine_of(args), Cache(args.cache)
    judged = judge_candidates(questions, gold, candidates, rules, executor, cache)
    write_dataset(judged.select(*EXEC_RESULTS.columns), EXEC_RESULTS)
    counts = {"candidates_in": judged.height, "rows_out": judged.height, "contract": params.contract}
    report = counts | summary(judged, "candidate_id")
    write_report("exec_results", report, judged.height, {}, counts_text(report["verdicts"]))


if __name__ == "__main__":
    run_stage(main)
