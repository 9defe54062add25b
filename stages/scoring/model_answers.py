"""The questions of a test set, what a model answers to them, and what executing the answers shows."""

from collections.abc import Sequence

import polars as pl

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.core.receipts import open_datasets
from stages.databases.paths import check_databases
from stages.datasets.gold import GOLD
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS, in_test_set, with_columns_of
from stages.execution.gold_questions import read_questions
from stages.execution.judge import judge
from stages.execution.records import GoldQuestion, Item, Outcome, Rules
from stages.execution.worker_pool import Executor
from stages.extraction.extract import extract_sql
from stages.lm.completions import Decoding, Engine, PromptedQuestion, sample_all


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
) -> tuple[list[list[str]], int]:
    """The SQL of each sample of each question, in their order, and how many prompts do not fit the model's context:
    their answers are empty, and so wrong."""
    answers: list[list[str]] = [[] for _ in questions]
    for positions, samples in sample_all(engine, questions, decoding, cache):
        for position, completions in zip(positions, samples, strict=True):
            answers[position] = [extract_sql(sample.completion) for sample in completions]
    return [sqls or [""] * decoding.n for sqls in answers], answers.count([])


def judge_answers(
    golds: Sequence[GoldQuestion], answers: Sequence[Sequence[str]], rules: Rules, executor: Executor[Item, Outcome],
    cache: Cache,
) -> list[list[Outcome]]:
    """The outcome of each sample of each question, in their order."""
    items: list[Item] = [(gold, sql) for gold, sqls in zip(golds, answers, strict=True) for sql in sqls]
    outcomes = iter(judge(items, rules, executor, cache))
    return [[next(outcomes) for _ in sqls] for sqls in answers]
