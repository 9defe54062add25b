"""Which questions a model is asked, and with which prompt."""

import polars as pl

from stages.core.errors import UserError

TEST_SET = pl.concat_str("source", pl.lit("-"), "split")
"""The name of the test set that a row of `questions` is in: `spider-dev`, `bird-train`."""


def in_test_set(questions: pl.DataFrame, name: str) -> pl.DataFrame:
    """The questions of the test set `<source>-<split>`. Raises UserError, naming those that are there, if it is not."""
    found = questions.filter(TEST_SET.eq(name))
    if found.is_empty():
        there = ", ".join(questions.select(TEST_SET.alias("name"))["name"].unique().sort())
        fix = "correct --test-set, or `evaluate.test_sets` in params.yaml"
        raise UserError(f"there is no test set `{name}`; there are: {there}; {fix}")
    return found


def with_prompts(questions: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """`questions` with the column `prompt` of the dataset `prompts`. Raises UserError where some have none."""
    joined = questions.join(
        prompts.select("question_id", "prompt"), on="question_id", how="left", maintain_order="left"
    )
    missing = joined.filter(pl.col("prompt").is_null())["question_id"]
    if not missing.is_empty():
        raise UserError(
            f"prompts has no row for {len(missing)} questions (the first: {missing[0]}); run `dvc repro prompts`"
        )
    return joined
