"""Makes the fine-tuning set: prompt and gold completion of the train questions whose gold query is usable."""

import argparse

import polars as pl

from stages.core.errors import run_stage
from stages.core.files import write_json
from stages.core.layout import report_file
from stages.core.params import Params, read_params
from stages.core.receipts import open_datasets
from stages.core.tables import write_dataset
from stages.datasets.gold import GOLD
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS, with_columns_of
from stages.datasets.sft import SFT
from stages.datasets.verdicts import GoldFlag
from stages.pairing.exclusions import first_reason, gold_reasons

UNUSABLE = ("exec_error", "over_budget", "undecided")
"""Verdicts of a gold query whose question teaches nothing."""


class SftParams(Params):
    """Section `sft` of params.yaml. `drop_flags`: audit flags of a gold query that keep its question out."""

    drop_flags: list[GoldFlag]


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.sft", description=__doc__).parse_args()
    params = read_params("sft", SftParams)
    questions, gold, prompts = open_datasets(QUESTIONS, GOLD, PROMPTS)
    reasons = drop_reasons(questions, gold, prompts, params.drop_flags)
    write_dataset(sft_rows(reasons.filter(pl.col("reason").is_null())), SFT)
    write_json(report_file("sft"), report_of(reasons))


def drop_reasons(
    questions: pl.DataFrame, gold: pl.DataFrame, prompts: pl.DataFrame, drop_flags: list[GoldFlag]
) -> pl.DataFrame:
    """`questions` with the columns `prompt` and `reason`: the first that keeps it out of the set, NULL where none does.

    The reasons, in order: `not_train`, `gold_<verdict>`, `flag_<flag>`, `gold_table_dropped`. Raises UserError where a
    question has no gold or no prompt.
    """
    reasons = {"not_train": pl.col("split") != "train"}
    reasons |= {f"gold_{verdict}": pl.col("verdict") == verdict for verdict in UNUSABLE}
    reasons |= gold_reasons(drop_flags)
    joined = with_columns_of(questions, GOLD, gold, "verdict", "flags")
    joined = with_columns_of(joined, PROMPTS, prompts, "prompt", "lost_tables")
    return joined.select(*questions.columns, "prompt", first_reason(reasons))


def sft_rows(questions: pl.DataFrame) -> pl.DataFrame:
    """The rows of `sft` for these questions, which have a column `prompt`."""
    return questions.select("question_id", "prompt", pl.col("gold_sql").alias("completion"), "origin")


def report_of(reasons: pl.DataFrame) -> dict[str, object]:
    """Counts of questions: in, out, and dropped for each reason."""
    dropped = reasons["reason"].drop_nulls().value_counts().sort("reason")
    return {"in": reasons.height, "out": reasons["reason"].null_count(), "dropped": dict(dropped.iter_rows())}


if __name__ == "__main__":
    run_stage(main)
