"""What a strong model made up: questions and SQL about databases of its own, accepted or left out with the reason."""

import polars as pl

from stages.core.tables import FLOAT, INTEGER, TEXT, Dataset

SYNTHETIC = Dataset(
    "synthetic",
    key="item_id",
    columns={
        "item_id": TEXT, "domain": TEXT, "db_id": TEXT, "question": TEXT, "evidence": TEXT, "gold_sql": TEXT,
        "difficulty": TEXT, "concept": TEXT, "model": TEXT, "model_version": TEXT, "refusal": TEXT, "checks": TEXT,
        "votes": INTEGER, "vote_share": FLOAT, "repairs": INTEGER, "first_sql": TEXT,
    },
)  # fmt: skip


def as_questions(synthetic: pl.DataFrame) -> pl.DataFrame:
    """The items, refused ones too, with the columns that a prompt and a row of `sft` are made of, in their order."""
    constants = {"split": pl.lit("train"), "origin": pl.lit("strong")}
    return synthetic.select("db_id", "question", "evidence", "gold_sql", question_id="item_id", **constants)
