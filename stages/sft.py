"""Makes the fine-tuning set: prompt and gold completion of the train questions whose gold query is usable."""

import argparse
from pathlib import Path
from typing import Literal

import polars as pl

from stages.errors import run_stage
from stages.files import write_json
from stages.params import Params, read_params
from stages.prompts.questions import prompts_of
from stages.receipts import require_receipts
from stages.tables import read_table, write_table

Flag = Literal["empty", "limit_tie", "order_unstable", "text_number_sort", "null_first"]

UNUSABLE = ("exec_error", "over_budget", "undecided")
"""Verdicts of a gold query whose question teaches nothing."""


class SftParams(Params):
    """Section `sft` of params.yaml. `drop_flags`: audit flags of a gold query that keep its question out."""

    drop_flags: list[Flag]


def main() -> None:
    args = _arguments()
    params = read_params("sft", SftParams)
    require_receipts({args.questions_receipt: args.questions, args.gold_receipt: args.gold})
    questions = read_table(args.questions, "questions")
    sorted_out = drop_reasons(questions, read_table(args.gold, "gold"), params.drop_flags)
    examples = sft_rows(sorted_out.filter(pl.col("reason").is_null()), args.databases)
    write_table(examples, args.sft, "sft")
    write_json(args.report, report_of(sorted_out))


def drop_reasons(questions: pl.DataFrame, gold: pl.DataFrame, drop_flags: list[Flag]) -> pl.DataFrame:
    """`questions` with a column `reason`: the first reason that keeps it out of the set, NULL where none does.

    The reasons, in order: `not_train`, `gold_missing`, `gold_<verdict>`, `flag_<flag>`.
    """
    reasons = {"not_train": pl.col("split") != "train", "gold_missing": pl.col("verdict").is_null()}
    reasons |= {f"gold_{verdict}": pl.col("verdict") == verdict for verdict in UNUSABLE}
    reasons |= {f"flag_{flag}": pl.col("flags").str.split(",").list.contains(flag) for flag in drop_flags}
    first = pl.coalesce(*(pl.when(holds).then(pl.lit(reason)) for reason, holds in reasons.items()))
    verdicts = gold.select("question_id", "verdict", "flags")
    joined = questions.join(verdicts, on="question_id", how="left", maintain_order="left")
    return joined.select(*questions.columns, first.alias("reason"))


def sft_rows(questions: pl.DataFrame, databases: Path) -> pl.DataFrame:
    """The rows of `sft` for these questions. Raises UserError where a database cannot be read."""
    prompts = prompts_of(questions, databases)
    return questions.select("question_id", prompts, pl.col("gold_sql").alias("completion"), "origin")


def report_of(sorted_out: pl.DataFrame) -> dict[str, object]:
    """Counts of questions: in, out, and dropped for each reason."""
    dropped = sorted_out["reason"].drop_nulls().value_counts().sort("reason")
    return {"in": sorted_out.height, "out": sorted_out["reason"].null_count(), "dropped": dict(dropped.iter_rows())}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.sft", description=__doc__)
    for name in ("questions", "questions-receipt", "gold", "gold-receipt"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--databases", type=Path, required=True, help="the folder of <db_id>/<db_id>.sqlite")
    parser.add_argument("--sft", type=Path, required=True, help="the table to write")
    parser.add_argument("--report", type=Path, required=True, help="the counts to write")
    return parser.parse_args()


if __name__ == "__main__":
    run_stage(main)
