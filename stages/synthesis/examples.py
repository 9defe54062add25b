"""Train questions that a strong model is shown, for the style."""

import polars as pl

from stages.core.layout import DATABASES
from stages.core.stable_draw import stable_draw
from stages.databases.paths import database_path
from stages.databases.schema import read_schema
from stages.prompting.ddl import render_table
from stages.synthesis.requests import Example

_POOL = 100  # each request shows two of them
_ROWS = 2


def draw_examples(questions: pl.DataFrame, seed: int) -> list[Example]:
    """A pool of examples from the train questions. Empty if there are none."""
    train = questions.filter(pl.col("split") == "train")
    drawn = stable_draw(train["question_id"].to_list(), _POOL, seed)
    rows = train.filter(pl.col("question_id").is_in(drawn)).select("db_id", "question", "gold_sql")
    return [Example(_ddl(db_id), question, sql) for db_id, question, sql in rows.iter_rows()]


def _ddl(db_id: str) -> str:
    schema = read_schema(database_path(DATABASES, db_id), _ROWS, {})
    return "\n".join(render_table(table, "create_table") for table in schema.tables)
