"""A side of a comparison that is a file of predictions: executed against the golds of the test set."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from stages.cache.result_cache import Cache
from stages.comparing.answers import ANSWER_COLUMNS, QUESTION_COLUMNS, VERDICTS, Side
from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.layout import report_file
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.judge import judge
from stages.execution.records import Item, Outcome, Rules
from stages.execution.summary import outcome_columns
from stages.execution.worker_pool import Executor
from stages.predictions.prediction_files import read_predictions_for
from stages.predictions.prediction_tables import QuestionRef
from stages.predictions.read_as import read_as_counts
from stages.scoring.model_answers import read_test_set


def predicted_side(name: str, test_set: str) -> Side:
    """The predictions in a file, one for each question of the test set, not executed yet. Raises UserError for every
    mistake in the file."""
    questions, golds, _ = read_test_set(test_set)
    keys = questions.select("question_id", "db_id").iter_rows()
    refs = [QuestionRef(int(question_id.rpartition("/")[2]), question_id, db_id) for question_id, db_id in keys]
    count = read_json(report_file("corpus"))["sets"][test_set]["read"]
    predictions = read_predictions_for(Path(name), refs, count)
    texts = predictions.texts
    if multiple := [ref.question_id for ref, row in zip(refs, texts, strict=True) if len(row) > 1]:
        problem = f"{name} has several predictions for {len(multiple)} questions (the first: {multiple[0]})"
        raise UserError(f"{problem}; give one each, as greedy answers are compared")
    sqls = pl.Series("sql", [row[0] for row in texts], pl.String)
    rows = questions.select("question_id", *QUESTION_COLUMNS, sqls)
    read_as = read_as_counts(predictions.counts, texts)
    return Side(name, "predictions, executed here", rows, golds=golds, read_as=read_as)


def execute_side(side: Side, rules: Rules, executor: Executor[Item, Outcome], cache: Cache) -> Side:
    """The side with the verdicts of its predictions; one of answers that have them as it is."""
    if side.golds is None:
        return side
    items: list[Item] = list(zip(side.golds, side.rows["sql"], strict=True))
    outcomes = pl.DataFrame(outcome_columns(judge(items, rules, executor, cache, "predictions")))
    judged = outcomes.select("error", **dict(zip(VERDICTS, map(pl.col, CONTRACT_NAMES), strict=True)))
    rows = pl.concat([side.rows, judged], how="horizontal").select(*ANSWER_COLUMNS, *QUESTION_COLUMNS)
    return replace(side, rows=rows.sort("question_id"), golds=None)
