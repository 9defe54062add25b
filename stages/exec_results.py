"""Stage `exec_results`: executes every candidate and gives it its verdict against the gold."""

import argparse
from pathlib import Path

import apsw
import polars as pl
from pydantic import Field

from stages.cache.result_cache import Cache
from stages.core.errors import UserError, run_stage
from stages.core.files import write_json
from stages.core.params import Params, read_params
from stages.core.receipts import require_receipts
from stages.core.tables import COLUMNS, read_table, write_table
from stages.databases.paths import check_databases
from stages.execution.cli_flags import add_execution_flags, engine_of
from stages.execution.comparison import Contract
from stages.execution.gold_questions import read_questions
from stages.execution.judge import judge
from stages.execution.sandbox import Limits
from stages.execution.summary import outcome_columns, summary
from stages.execution.worker import DIGEST_ROWS, Budget, Rules


class ExecResultsParams(Params):
    """Section `exec_results` of params.yaml."""

    contract: Contract
    budget_floor: int = Field(gt=0, le=10**12)
    budget_factor: int = Field(gt=0, le=10**6)
    wall_seconds: float = Field(gt=0, le=86_400)
    memory_mb: int = Field(ge=64, le=10**6)
    max_rows: int = Field(gt=0, le=10**8)
    result_mb: int = Field(gt=0, le=10**5)

    def rules(self) -> Rules:
        limits = Limits(self.wall_seconds, self.memory_mb, self.max_rows, self.result_mb)
        return Rules(self.contract, Budget(self.budget_floor, self.budget_factor), limits, DIGEST_ROWS)


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


def result_rows(judged: pl.DataFrame, hashes: dict[str, str], contract: Contract) -> pl.DataFrame:
    """The rows of `exec_results` from candidates with their outcomes. `hashes`: db_id to the sha256 of its file."""
    made = judged.with_columns(
        db_sha256=pl.col("db_id").replace_strict(hashes, return_dtype=pl.String),
        contract=pl.lit(contract),
        sqlite_version=pl.lit(apsw.sqlite_lib_version()),
    )
    return made.select(list(COLUMNS["exec_results"]))


def report_of(judged: pl.DataFrame, contract: Contract) -> dict[str, object]:
    """Counts in and out, and those of `summary`."""
    return {
        "candidates_in": judged.height, "rows_out": judged.height, "contract": contract,
        **summary(judged, "candidate_id"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.exec_results", description="Executes every candidate and gives it its verdict."
    )
    tables = ("candidates", "gold", "questions")
    for name in (*tables, *(f"{table}-receipt" for table in tables), "databases", "exec-results", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    add_execution_flags(parser)
    args = parser.parse_args()
    arguments = vars(args)
    params = read_params("exec_results", ExecResultsParams)

    require_receipts({arguments[f"{table}_receipt"]: arguments[table] for table in tables})
    questions = read_table(arguments["questions"], "questions")
    databases = arguments["databases"]
    known = read_questions(questions, read_table(arguments["gold"], "gold"), databases)
    candidates = candidates_with_questions(read_table(arguments["candidates"], "candidates"), questions)
    paths = check_databases(candidates["db_id"], databases)
    items = [(known[question_id], sql) for question_id, sql in candidates.select("question_id", "sql").iter_rows()]
    cache = Cache(args.cache)
    outcomes = judge(items, params.rules(), engine_of(args), cache)
    judged = candidates.with_columns(outcome_columns(outcomes))
    hashes = {db_id: cache.sha256(str(path)) for db_id, path in paths.items()}
    write_table(result_rows(judged, hashes, params.contract), args.exec_results, "exec_results")
    write_json(args.report, report_of(judged, params.contract))


if __name__ == "__main__":
    run_stage(main)
