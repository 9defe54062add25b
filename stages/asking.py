"""Which questions a model is asked, and with which prompt."""

from collections.abc import Collection

import polars as pl

from stages.errors import UserError
from stages.files import fingerprint

TEST_SET = pl.concat_str("source", pl.lit("-"), "split")
"""The name of the test set that a row of `questions` is in: `spider-dev`, `bird-train`."""


def drawn(question_ids: Collection[str], count: int, seed: int) -> set[str]:
    """`count` of these questions (all, if there are fewer), the first by a hash of seed and question_id: a higher count
    only adds some."""
    return set(sorted(question_ids, key=lambda question_id: fingerprint(seed, question_id))[:count])


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
