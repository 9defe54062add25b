"""The questions and gold datasets as what candidates are judged against."""

from pathlib import Path

import polars as pl

from stages.core.errors import UserError
from stages.databases.paths import database_path
from stages.execution.worker import Question


def read_questions(questions: pl.DataFrame, gold: pl.DataFrame, databases: Path) -> dict[str, Question]:
    """question_id to Question, for every row of the questions dataset. Raises UserError where gold lacks some."""
    joined = questions.join(gold, on="question_id", how="left")
    missing = joined.filter(pl.col("verdict").is_null())["question_id"].to_list()
    if missing:
        raise UserError(
            f"gold has no row for {len(missing)} questions (the first: {missing[0]}); run `dvc repro gold`"
        )
    # Of the flags only this one counts, and others must not make a judged candidate look new to the result cache.
    flags = pl.col("flags").str.extract(r"\b(order_unstable)\b").fill_null("")
    rows = joined.select("question_id", "db_id", "gold_sql", "verdict", pl.col("steps").fill_null(0), flags)
    return {
        question_id: Question(str(database_path(databases, db_id).absolute()), *fields)
        for question_id, db_id, *fields in rows.iter_rows()
    }
