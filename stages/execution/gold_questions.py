"""Reads the questions and gold datasets as the GoldQuestions that candidates are judged against."""

import polars as pl

from stages.core.layout import DATABASES
from stages.databases.paths import database_path
from stages.datasets.gold import GOLD
from stages.datasets.questions import with_columns_of
from stages.execution.records import GoldQuestion


def read_questions(questions: pl.DataFrame, gold: pl.DataFrame) -> dict[str, GoldQuestion]:
    """question_id to GoldQuestion, for every row of the questions dataset. Raises UserError if gold lacks rows."""
    joined = with_columns_of(questions, GOLD, gold, "verdict", "steps", "flags")
    # Only this flag decides verdicts; another one must not make a judged candidate look new to the result cache.
    flags = pl.col("flags").str.extract(r"\b(order_unstable)\b").fill_null("")
    rows = joined.select("question_id", "db_id", "gold_sql", "verdict", pl.col("steps").fill_null(0), flags)
    return {
        question_id: GoldQuestion(str(database_path(DATABASES, db_id).absolute()), *fields)
        for question_id, db_id, *fields in rows.iter_rows()
    }
