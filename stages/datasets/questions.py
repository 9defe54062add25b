"""The questions of every source and split, each with its gold query."""

import polars as pl

from stages.core.errors import UserError
from stages.core.stable_draw import stable_draw
from stages.core.tables import TEXT, Dataset

QUESTIONS = Dataset(
    "questions",
    key="question_id",
    columns={
        "question_id": TEXT, "source": TEXT, "split": TEXT, "db_id": TEXT, "question": TEXT, "evidence": TEXT,
        "gold_sql": TEXT, "other_golds": TEXT, "difficulty": TEXT, "origin": TEXT,
    },
)  # fmt: skip

TEST_SET = pl.concat_str("source", pl.lit("-"), "split")
"""The name of the test set that a row of `questions` is in: `spider-dev`, `bird-train`."""


def in_test_set(questions: pl.DataFrame, name: str) -> pl.DataFrame:
    """The questions of the test set `<source>-<split>`. Raises UserError, naming the available ones, if there is none
    of that name."""
    matches = questions.filter(TEST_SET.eq(name))
    if matches.is_empty():
        available = ", ".join(questions.select(TEST_SET.alias("name"))["name"].unique().sort())
        fix = "correct --test-set, or `test_sets` in params.yaml"
        raise UserError(f"there is no test set `{name}`; there are: {available}; {fix}")
    return matches


def held_back_databases(questions: pl.DataFrame, share: float) -> set[str]:
    """The share of the train databases that SFT does not see: preference learning has fresh questions of them. They are
    drawn by a hash of their name, so a higher share holds back those of a lower one, and more."""
    db_ids = set(questions.filter(pl.col("split") == "train")["db_id"])
    return stable_draw(db_ids, round(len(db_ids) * share), 0)


def with_columns_of(questions: pl.DataFrame, dataset: Dataset, rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """`questions` with these columns of another dataset that has one row for each question; the first of them is never
    NULL. Raises UserError where that dataset lacks a question."""
    joined = questions.join(rows.select("question_id", *columns), on="question_id", how="left", maintain_order="left")
    missing = joined.filter(pl.col(columns[0]).is_null())["question_id"]
    if not missing.is_empty():
        name = dataset.name
        raise UserError(
            f"{name} has no row for {len(missing)} questions (the first: {missing[0]}); run `dvc repro {name}`"
        )
    return joined
