"""Stage `exec_results`: executes every candidate and gives it its verdict against the gold."""

import argparse
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import apsw
import polars as pl
from pydantic import Field

from stages.errors import UserError, run_stage
from stages.files import write_json
from stages.params import Params, read_params
from stages.receipts import require_receipts
from stages.sql.cache import Cache, default_folder
from stages.sql.compare import CONTRACT_NAMES, Contract
from stages.sql.judge import Outcome, judge
from stages.sql.pool import local, usable_cpus, worker_count
from stages.sql.questions import read_questions
from stages.sql.referee import DIGEST_ROWS, Budget, Rules
from stages.sql.sandbox import Limits, check_databases, database_sha256
from stages.sql.verdicts import VERDICTS
from stages.tables import COLUMNS, read_table, write_table


class ExecResultsParams(Params):
    """Section `exec_results` of params.yaml."""

    contract: Contract
    budget_floor: int = Field(gt=0)
    budget_factor: int = Field(gt=0)
    wall_seconds: float = Field(gt=0)
    memory_mb: int = Field(ge=64)
    max_rows: int = Field(gt=0)
    result_mb: int = Field(gt=0)

    def rules(self) -> Rules:
        limits = Limits(self.wall_seconds, self.memory_mb, self.max_rows, self.result_mb)
        return Rules(self.contract, Budget(self.budget_floor, self.budget_factor), limits, DIGEST_ROWS)


def candidates_with_questions(candidates: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    """Candidates with their question's db_id and difficulty. Raises UserError where a question is not there."""
    joined = candidates.join(questions.select("question_id", "db_id", "difficulty"), on="question_id", how="left")
    strangers = joined.filter(pl.col("db_id").is_null())["question_id"].unique().sort().to_list()
    if strangers:
        raise UserError(
            f"candidates answer {len(strangers)} questions that are not in questions (the first: {strangers[0]}); "
            "run `dvc repro candidates` to make them again"
        )
    return joined


def result_rows(
    candidates: pl.DataFrame, outcomes: Sequence[Outcome], hashes: dict[str, str], contract: Contract
) -> pl.DataFrame:
    """The rows of `exec_results`. `hashes`: db_id to the sha256 of its file."""
    columns = candidates.select("candidate_id", "question_id", "sql", "db_id").iter_rows()
    rows = [
        {
            "candidate_id": candidate_id, "question_id": question_id, "db_sha256": hashes[db_id], "sql": sql,
            "verdict": outcome.verdict, "error_class": outcome.error_class, "error": outcome.error,
            "steps": outcome.steps, "rows": outcome.rows, "digest": outcome.digest, "contract": contract,
            "sqlite_version": apsw.sqlite_lib_version(),
        }
        for (candidate_id, question_id, sql, db_id), outcome in zip(columns, outcomes, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=COLUMNS["exec_results"])


def report_of(candidates: pl.DataFrame, outcomes: Sequence[Outcome], contract: Contract) -> dict[str, object]:
    """Counts in and out, per verdict, error class and difficulty; `flips`: for each two contracts, the candidates that
    match under exactly one of them."""
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    classes = Counter(outcome.error_class for outcome in outcomes if outcome.error_class)
    per_difficulty = Counter(zip(candidates["difficulty"], (outcome.verdict for outcome in outcomes), strict=True))
    return {
        "candidates_in": len(candidates),
        "rows_out": len(outcomes),
        "distinct_queries": candidates.select("db_id", "sql").n_unique(),
        "contract": contract,
        "verdicts": {verdict: verdicts[verdict] for verdict in VERDICTS},
        "error_classes": dict(sorted(classes.items())),
        "matches": {name: sum(outcome.under(name) == "match" for outcome in outcomes) for name in CONTRACT_NAMES},
        "flips": {f"{one}_{other}": _flips(outcomes, one, other) for one, other in combinations(CONTRACT_NAMES, 2)},
        "difficulties": {
            difficulty: {verdict: count for verdict in VERDICTS if (count := per_difficulty[difficulty, verdict])}
            for difficulty in sorted(set(candidates["difficulty"]))
        },
    }


def _flips(outcomes: Sequence[Outcome], one: Contract, other: Contract) -> int:
    return sum((outcome.under(one) == "match") != (outcome.under(other) == "match") for outcome in outcomes)


def main() -> None:
    parser = argparse.ArgumentParser(description="Executes every candidate and gives it its verdict.")
    tables = ("candidates", "gold", "questions")
    for name in (*tables, *(f"{table}-receipt" for table in tables), "databases", "exec-results", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--workers", type=worker_count, default=usable_cpus(), help="number of processes")
    parser.add_argument("--cache", type=Path, default=default_folder(), help="folder of the result cache")
    arguments = vars(parser.parse_args())
    params = read_params("exec_results", ExecResultsParams)

    require_receipts({arguments[f"{table}_receipt"]: arguments[table] for table in tables})
    questions = read_table(arguments["questions"], "questions")
    databases = arguments["databases"]
    known = read_questions(questions, read_table(arguments["gold"], "gold"), databases)
    candidates = candidates_with_questions(read_table(arguments["candidates"], "candidates"), questions)
    paths = check_databases(candidates["db_id"], databases)
    items = [(known[question_id], sql) for question_id, sql in candidates.select("question_id", "sql").iter_rows()]
    outcomes = judge(items, params.rules(), local(arguments["workers"]), Cache(arguments["cache"]))
    hashes = {db_id: database_sha256(str(path)) for db_id, path in paths.items()}

    frame = result_rows(candidates, outcomes, hashes, params.contract)
    write_table(frame, arguments["exec_results"], "exec_results")
    write_json(arguments["report"], report_of(candidates, outcomes, params.contract))


if __name__ == "__main__":
    run_stage(main)
