"""The questions of a test set, what a model answers to them, and what executing the answers shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.core.receipts import open_datasets
from stages.databases.paths import check_databases
from stages.datasets.answers import ANSWERS
from stages.datasets.gold import GOLD
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS, in_test_set, with_columns_of
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.gold_questions import read_questions
from stages.execution.judge import judge
from stages.execution.records import GoldQuestion, Item, Outcome, Rules
from stages.execution.summary import outcome_columns
from stages.execution.worker_pool import Executor
from stages.extraction.extract import extract_sql
from stages.lm.completions import Completion, Decoding, Engine, PromptedQuestion, sample_all


@dataclass(frozen=True, slots=True)
class Answer:
    """The SQL of a completion. `completion`: None where the prompt does not fit the model's context: such an answer is
    empty, and so wrong."""

    completion: Completion | None
    sql: str


def read_test_set(name: str) -> tuple[pl.DataFrame, list[GoldQuestion], int]:
    """The test set's questions whose gold is usable, with their prompts; the same as they are executed; and how many
    are left out. Raises UserError where there is none, or data does not fit together."""
    questions, gold, prompts = open_datasets(QUESTIONS, GOLD, PROMPTS)
    test_set = in_test_set(questions, name)
    golds = read_questions(questions, gold)
    ok = [golds[question_id].gold_verdict == "ok" for question_id in test_set["question_id"]]
    usable = test_set.filter(pl.Series(ok, dtype=pl.Boolean))
    if usable.is_empty():
        raise UserError(f"{QUESTIONS.file} has no question of test set `{name}` with a usable gold")
    check_databases(usable["db_id"])
    usable = with_columns_of(usable, PROMPTS, prompts, "prompt")
    return usable, [golds[question_id] for question_id in usable["question_id"]], test_set.height - usable.height


def answers_of(
    engine: Engine, questions: Sequence[PromptedQuestion], decoding: Decoding, cache: Cache
) -> tuple[list[list[Answer]], int]:
    """The answers to each question, in their order, and how many prompts do not fit the model's context."""
    answers: list[list[Answer]] = [[] for _ in questions]
    for positions, samples in sample_all(engine, questions, decoding, cache):
        for position, completions in zip(positions, samples, strict=True):
            answers[position] = [Answer(sample, extract_sql(sample.completion)) for sample in completions]
    return [row or [Answer(None, "")] * decoding.n for row in answers], answers.count([])


def judge_answers(
    golds: Sequence[GoldQuestion], answers: Sequence[Sequence[Answer]], rules: Rules,
    executor: Executor[Item, Outcome], cache: Cache,
) -> list[list[Outcome]]:  # fmt: skip
    """The outcome of each answer to each question, in their order."""
    items: list[Item] = [(gold, answer.sql) for gold, row in zip(golds, answers, strict=True) for answer in row]
    outcomes = iter(judge(items, rules, executor, cache, "answers"))
    return [[next(outcomes) for _ in row] for row in answers]


def answer_rows(
    model: str, test_set: str, question_ids: Sequence[str], answers: Sequence[Sequence[Answer]],
    outcomes: Sequence[Sequence[Outcome]], greedy: bool,
) -> pl.DataFrame:  # fmt: skip
    """The rows of `answers` for the answers to these questions: one greedy one each, or samples."""
    rows = [
        {
            "answer_id": f"{model}/{question_id}/{'greedy' if greedy else f'{number:04}'}", "model": model,
            "test_set": test_set, "question_id": question_id, "sample": None if greedy else number, "sql": answer.sql,
            "completion": answer.completion and answer.completion.completion,
            "logprob": answer.completion and answer.completion.logprob,
            "tokens": answer.completion and answer.completion.tokens,
        }
        for question_id, row in zip(question_ids, answers, strict=True)
        for number, answer in enumerate(row)
    ]  # fmt: skip
    verdicts: dict[str, str] = {contract: f"verdict_{contract}" for contract in CONTRACT_NAMES}
    judged = pl.DataFrame(outcome_columns([outcome for row in outcomes for outcome in row])).rename(verdicts)
    completions = pl.DataFrame(rows, schema={name: ANSWERS.columns[name] for name in rows[0]})
    return pl.concat([completions, judged], how="horizontal").select(*ANSWERS.columns)
