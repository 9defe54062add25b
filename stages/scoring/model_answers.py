"""The questions of a test set, what a model answers to them, and what executing the answers shows."""

import argparse
from collections.abc import Sequence

import polars as pl

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.core.receipts import require_receipts
from stages.core.tables import read_table
from stages.databases.paths import check_databases
from stages.datasets.questions import in_test_set, with_prompts
from stages.execution.gold_questions import read_questions
from stages.execution.judge import Outcome, judge
from stages.execution.worker import Item, Question, Rules
from stages.execution.worker_pool import Engine as Executor
from stages.extraction.extract import extract_sql
from stages.lm.completions import Ask, Decoding, Engine, sample_all

TABLES = ("questions", "gold", "prompts")


def read_test_set(args: argparse.Namespace) -> tuple[pl.DataFrame, list[Question], int]:
    """The test set's questions whose gold is usable, with their prompts; the same as they are executed; and how many
    are left out. Raises UserError where there is none, or data does not fit together."""
    require_receipts({getattr(args, f"{name}_receipt"): getattr(args, name) for name in TABLES})
    questions = read_table(args.questions, "questions")
    test_set = in_test_set(questions, args.test_set)
    known = read_questions(questions, read_table(args.gold, "gold"), args.databases)
    ok = [known[question_id].gold_verdict == "ok" for question_id in test_set["question_id"]]
    usable = test_set.filter(pl.Series(ok, dtype=pl.Boolean))
    if usable.is_empty():
        raise UserError(f"{args.questions} has no question of test set `{args.test_set}` with a usable gold")
    check_databases(usable["db_id"], args.databases)
    usable = with_prompts(usable, read_table(args.prompts, "prompts"))
    return usable, [known[question_id] for question_id in usable["question_id"]], test_set.height - usable.height


def answers_of(engine: Engine, asks: Sequence[Ask], decoding: Decoding, cache: Cache) -> tuple[list[list[str]], int]:
    """The SQL of each sample of each question, in their order, and how many prompts do not fit the model's context:
    their answers are empty, and so wrong."""
    found: list[list[str]] = [[] for _ in asks]
    for positions, samples in sample_all(engine, asks, decoding, cache):
        for position, row in zip(positions, samples, strict=True):
            found[position] = [extract_sql(sample.completion) for sample in row]
    return [row or [""] * decoding.n for row in found], found.count([])


def judge_answers(
    known: Sequence[Question], answers: Sequence[Sequence[str]], rules: Rules, executor: Executor[Item], cache: Cache
) -> list[list[Outcome]]:
    """The outcome of each sample of each question, in their order."""
    items: list[Item] = [(question, sql) for question, row in zip(known, answers, strict=True) for sql in row]
    outcomes = iter(judge(items, rules, executor, cache))
    return [[next(outcomes) for _ in row] for row in answers]
