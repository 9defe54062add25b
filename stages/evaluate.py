"""Evaluates a model on one test set: greedy EX with its interval, pass@k and maj@k of samples."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from stages.asking import in_test_set, with_prompts
from stages.errors import UserError, run_stage
from stages.files import fingerprint, remove_folder, sha256_file, sha256_folder, work_folder, write_json, write_text
from stages.lm.loading import load_model
from stages.lm.sampling import Decoding, sample_all
from stages.params import Params, read_params
from stages.prompting.render import extract_sql
from stages.receipts import require_receipts
from stages.sql.cache import Cache
from stages.sql.compare import CONTRACT_NAMES, Contract
from stages.sql.flags import add_execution_flags, database_of, engine_of
from stages.sql.judge import Outcome, judge
from stages.sql.metrics import bootstrap_interval, majority_at_k, pass_at_k
from stages.sql.pool import Engine
from stages.sql.questions import read_questions
from stages.sql.referee import DIGEST_ROWS, Budget, Item, Question, Rules
from stages.sql.sandbox import Limits, check_databases
from stages.sql.verdicts import VERDICTS
from stages.tables import read_table


class EvaluateParams(Params):
    """Section `evaluate` of params.yaml. `test_sets`: `<source>-<split>` each; one run evaluates on one of them."""

    test_sets: list[str] = Field(min_length=1)
    contract: Contract
    n: int = Field(gt=0)
    temperature: float = Field(gt=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    seed: int = Field(ge=0)
    resamples: int = Field(ge=100)
    budget_floor: int = Field(gt=0)
    budget_factor: int = Field(gt=0)
    wall_seconds: float = Field(gt=0)
    memory_mb: int = Field(ge=64)
    max_rows: int = Field(gt=0)
    result_mb: int = Field(gt=0)

    @field_validator("test_sets")
    @classmethod
    def _unlike(cls, test_sets: list[str]) -> list[str]:
        if len(set(test_sets)) < len(test_sets):
            raise PydanticCustomError("test_sets", "name each test set once")
        return test_sets

    def decodings(self) -> tuple[Decoding, Decoding]:
        """Greedy decoding, and n samples."""
        sampling = Decoding(self.n, self.temperature, self.top_p, self.max_tokens, self.seed)
        return Decoding(1, 0.0, 1.0, self.max_tokens, self.seed), sampling

    def rules(self) -> Rules:
        limits = Limits(self.wall_seconds, self.memory_mb, self.max_rows, self.result_mb)
        return Rules(self.contract, Budget(self.budget_floor, self.budget_factor), limits, DIGEST_ROWS)


def answer(
    questions: pl.DataFrame, model: Path, decodings: Sequence[Decoding], batch_size: int, work: Path
) -> list[list[list[str]]]:
    """For each decoding the SQL of each sample of each question (columns question_id, prompt), in their order."""
    loaded, tokenizer = load_model(model)
    loaded.eval()
    ids, prompts = questions["question_id"].to_list(), questions["prompt"].to_list()
    answers = []
    for number, decoding in enumerate(decodings):
        samples = sample_all(loaded, tokenizer, ids, prompts, decoding, batch_size, work / str(number))
        answers.append([[extract_sql(sample.completion) for sample in row] for row in samples])
    return answers


def judge_answers(
    known: Sequence[Question], answers: Sequence[Sequence[str]], rules: Rules, engine: Engine[Item], cache: Cache
) -> list[list[Outcome]]:
    """The outcome of each sample of each question, in their order."""
    items = [(question, sql) for question, row in zip(known, answers, strict=True) for sql in row]
    outcomes = iter(judge(items, rules, engine, cache))
    return [[next(outcomes) for _ in row] for row in answers]


def metrics_of(
    difficulties: Sequence[str], greedy: Sequence[Outcome], sampled: Sequence[Sequence[Outcome]], params: EvaluateParams
) -> dict[str, Any]:
    """EX (share of questions whose greedy query matches) with its 95 % bootstrap interval, under each contract, per
    difficulty; verdict counts; pass@k and maj@k for the powers of two up to n."""
    right = [float(outcome.verdict == "match") for outcome in greedy]
    low, high = bootstrap_interval(right, params.seed, params.resamples)
    verdicts = Counter(outcome.verdict for outcome in greedy)
    ks = [2**power for power in range(params.n.bit_length())]
    votes = [[(outcome.verdict, outcome.digest) for outcome in row] for row in sampled]
    matches = [sum(outcome.verdict == "match" for outcome in row) for row in sampled]
    return {
        "questions": len(right),
        "ex": round(_mean(right), 4),
        "ex_low": round(low, 4),
        "ex_high": round(high, 4),
        "ex_contract": {
            name: round(_mean([outcome.under(name) == "match" for outcome in greedy]), 4) for name in CONTRACT_NAMES
        },
        "ex_difficulty": {
            name: round(_mean([hit for hit, level in zip(right, difficulties, strict=True) if level == name]), 4)
            for name in sorted(set(difficulties))
        },
        "verdicts": {verdict: verdicts[verdict] for verdict in VERDICTS},
        "pass_at": {str(k): round(_mean([pass_at_k(params.n, count, k) for count in matches]), 4) for k in ks},
        "maj_at": {str(k): round(_mean([majority_at_k(row, k) for row in votes]), 4) for k in ks},
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def csv(header: str, rows: Sequence[tuple[object, ...]]) -> str:
    """A CSV table for `dvc plots`."""
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test-set", required=True, help="<source>-<split>, such as spider-dev")
    tables = ("questions", "gold", "prompts")
    for name in ("model", "databases", *tables, *(f"{table}-receipt" for table in tables)):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("metrics", "samples", "difficulty"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    add_execution_flags(parser)
    args = parser.parse_args()
    params = read_params("evaluate", EvaluateParams)
    require_receipts({
        args.questions_receipt: args.questions, args.gold_receipt: args.gold, args.prompts_receipt: args.prompts,
    })  # fmt: skip
    questions = read_table(args.questions, "questions")
    test_set = in_test_set(questions, args.test_set)
    known = read_questions(questions, read_table(args.gold, "gold"), args.databases)
    ok = [known[question_id].gold_verdict == "ok" for question_id in test_set["question_id"]]
    usable = test_set.filter(pl.Series(ok, dtype=pl.Boolean))
    if usable.is_empty():
        raise UserError(f"{args.questions} has no question of test set `{args.test_set}` with a usable gold")
    check_databases(usable["db_id"], args.databases)
    usable = with_prompts(usable, read_table(args.prompts, "prompts"))
    asked = [known[question_id] for question_id in usable["question_id"]]
    settings = params.model_dump(exclude={"test_sets"})  # another test set changes none of the others' answers
    inputs = [sha256_folder(args.model), sha256_file(args.questions), sha256_file(args.gold), args.test_set]
    work = work_folder(args.metrics, fingerprint(settings, inputs, usable["prompt"].to_list()))
    answers = answer(usable, args.model, params.decodings(), params.batch_size, work)
    rules, cache = params.rules(), Cache(args.cache)
    engine: Engine[Item] = engine_of(args, database_of)
    greedy, sampled = (judge_answers(asked, rows, rules, engine, cache) for rows in answers)
    metrics = metrics_of(usable["difficulty"].to_list(), [row[0] for row in greedy], sampled, params)
    write_json(args.metrics, {**metrics, "dropped": {"gold_not_ok": test_set.height - usable.height}})
    pass_at, maj_at = metrics["pass_at"], metrics["maj_at"]
    write_text(args.samples, csv("k,pass_at_k,maj_at_k", [(k, pass_at[k], maj_at[k]) for k in pass_at]))
    write_text(args.difficulty, csv("difficulty,ex", list(metrics["ex_difficulty"].items())))
    remove_folder(work)


if __name__ == "__main__":
    run_stage(main)
