"""Makes the fine-tuning set: prompt and gold completion of the train questions whose gold query is usable."""

import argparse
from pathlib import Path

import polars as pl

from stages.core.errors import run_stage
from stages.core.files import write_json
from stages.core.params import Params, read_params
from stages.core.receipts import require_receipts
from stages.core.tables import read_table, write_table
from stages.datasets.verdicts import GoldFlag
from stages.pairing.exclusions import first_reason, gold_reasons

UNUSABLE = ("exec_error", "over_budget", "undecided")
"""Verdicts of a gold query whose question teaches nothing."""


class SftParams(Params):
    """Section `sft` of params.yaml. `drop_flags`: audit flags of a gold query that keep its question out."""

    drop_flags: list[GoldFlag]


def main() -> None:
    args = _arguments()
    params = read_params("sft", SftParams)
    tables = {name: getattr(args, name) for name in ("questions", "gold", "prompts")}
    require_receipts({getattr(args, f"{name}_receipt"): path for name, path in tables.items()})
    questions, gold, prompts = (read_table(path, name) for name, path in tables.items())
    sorted_out = drop_reasons(questions, gold, prompts, params.drop_flags)
    write_table(sft_rows(sorted_out.filter(pl.col("reason").is_null())), args.sft, "sft")
    write_json(args.report, report_of(sorted_out))


def drop_reasons(
    questions: pl.DataFrame, gold: pl.DataFrame, prompts: pl.DataFrame, drop_flags: list[GoldFlag]
) -> pl.DataFrame:
    """`questions` with the columns `prompt` and `reason`: the first that keeps it out of the set, NULL where none does.

    The reasons, in order: `not_train`, `gold_missing`, `gold_<verdict>`, `flag_<flag>`, `gold_table_dropped`.
    """
    reasons = {"not_train": pl.col("split") != "train", "gold_missing": pl.col("verdict").is_null()}
    reasons |= {f"gold_{verdict}": pl.col("verdict") == verdict for verdict in UNUSABLE}
    reasons |= gold_reasons(drop_flags)
    joined = questions
    for known in (gold.select("question_id", "verdict", "flags"), prompts.drop("db_id")):
        joined = joined.join(known, on="question_id", how="left", maintain_order="left")
    return joined.select(*questions.columns, "prompt", first_reason(reasons))


def sft_rows(asked: pl.DataFrame) -> pl.DataFrame:
    """The rows of `sft` for these questions, which have their `prompt`."""
    return asked.select("question_id", "prompt", pl.col("gold_sql").alias("completion"), "origin")


def report_of(sorted_out: pl.DataFrame) -> dict[str, object]:
    """Counts of questions: in, out, and dropped for each reason."""
    dropped = sorted_out["reason"].drop_nulls().value_counts().sort("reason")
    return {"in": sorted_out.height, "out": sorted_out["reason"].null_count(), "dropped": dict(dropped.iter_rows())}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.sft", description=__doc__)
    for name in ("questions", "gold", "prompts"):
        parser.add_argument(f"--{name}", type=Path, required=True)
        parser.add_argument(f"--{name}-receipt", type=Path, required=True)
    parser.add_argument("--sft", type=Path, required=True, help="the table to write")
    parser.add_argument("--report", type=Path, required=True, help="the counts to write")
    return parser.parse_args()


if __name__ == "__main__":
    run_stage(main)
