"""Makes the fine-tuning set: prompt and gold completion of train questions whose gold is usable, and of strong data.

Strong data are the accepted items of `synthetic`. Their prompts are rendered as `prompts` renders those of questions. A
stated share is met exactly, up to rounding: rows are drawn, by a hash of their id, from the side that has too many. A
share of the train databases can be held back, so that preference learning has questions that no model has seen.
"""

import argparse
from collections import Counter
from typing import Any

import polars as pl
from pydantic import Field

from stages.core.end_line import write_report
from stages.core.errors import UserError, run_stage
from stages.core.layout import SYNTHETIC_DATABASES
from stages.core.params import Params, read_params
from stages.core.receipts import open_datasets
from stages.core.stable_draw import stable_draw
from stages.core.tables import write_dataset
from stages.datasets.gold import GOLD
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS, held_back_databases, with_columns_of
from stages.datasets.sft import SFT
from stages.datasets.synthetic import SYNTHETIC, as_questions
from stages.datasets.verdicts import GoldFlag
from stages.pairing.exclusions import first_reason, gold_reasons
from stages.prompting.rendering import PromptsParams, render_prompts

UNUSABLE = ("exec_error", "over_budget", "undecided")
"""Verdicts of a gold query whose question teaches nothing."""


class SftParams(Params):
    """Section `sft` of params.yaml. `preference_share`: share of the train databases that are held back for preference
    learning; `strong_share`: share of strong data among the rows, None: all of both; `drop_flags`: audit flags of a
    gold query that keep its question out."""

    preference_share: float = Field(ge=0, lt=1)
    strong_share: float | None = Field(ge=0, le=1)
    drop_flags: list[GoldFlag]


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.sft", description=__doc__).parse_args()
    params, prompt_params = read_params("sft", SftParams), read_params("prompts", PromptsParams)
    questions, gold, prompts, synthetic = open_datasets(QUESTIONS, GOLD, PROMPTS, SYNTHETIC)
    reasons = drop_reasons(questions, gold, prompts, params)
    strong = strong_reasons(synthetic, prompt_params)
    mixed, over_share = mix(usable_rows(reasons), usable_rows(strong), params.strong_share)
    if mixed.is_empty():
        fix = "set it to null, or make more of the other side"
        raise UserError(f"params.yaml: with `sft.strong_share` {params.strong_share} no row is left; {fix}")
    write_dataset(mixed, SFT)
    sides = zip(("human", "strong"), (reasons, strong), over_share, strict=True)
    report = {side: report_of(rows, left_out) for side, rows, left_out in sides}
    dropped = sum((Counter(counts["dropped"]) for counts in report.values()), Counter[str]())
    figures = (f"{side} {counts['out']:,}" for side, counts in report.items())
    write_report("sft", report, mixed.height, dropped, *figures)


def usable_rows(reasons: pl.DataFrame) -> pl.DataFrame:
    """The rows of `sft` of the questions that nothing keeps out."""
    return sft_rows(reasons.filter(pl.col("reason").is_null()))


def strong_reasons(synthetic: pl.DataFrame, params: PromptsParams) -> pl.DataFrame:
    """The items of `synthetic` as questions with the columns `prompt` and `reason`, as `drop_reasons` gives them.

    The reasons: `refused_<refusal>`, `gold_table_dropped`. Raises UserError where a database is missing.
    """
    questions = as_questions(synthetic)
    prompts = render_prompts(questions, params, SYNTHETIC_DATABASES)
    joined = with_columns_of(questions, PROMPTS, prompts, "prompt", "lost_tables")
    refused = pl.format("refused_{}", synthetic["refusal"])
    dropped = pl.when(pl.col("lost_tables") != "[]").then(pl.lit("gold_table_dropped"))
    return joined.select(*questions.columns, "prompt", reason=pl.coalesce(refused, dropped))


def mix(human: pl.DataFrame, strong: pl.DataFrame, share: float | None) -> tuple[pl.DataFrame, tuple[int, int]]:
    """Human and strong rows, of which `share` are strong; and how many rows of each are left out for that."""
    if share is None:
        return pl.concat([human, strong]), (0, 0)
    if strong.height * (1 - share) > human.height * share:
        keep_human, keep_strong = human.height, round(human.height * share / (1 - share))
    else:
        keep_human, keep_strong = round(strong.height * (1 - share) / share) if share else human.height, strong.height
    rows = [_draw(human, keep_human), _draw(strong, keep_strong)]
    return pl.concat(rows), (human.height - keep_human, strong.height - keep_strong)


def _draw(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    return rows.filter(pl.col("question_id").is_in(stable_draw(rows["question_id"].to_list(), count, 0)))


def drop_reasons(
    questions: pl.DataFrame, gold: pl.DataFrame, prompts: pl.DataFrame, params: SftParams
) -> pl.DataFrame:
    """`questions` with the columns `prompt` and `reason`: the first that keeps it out of the set, NULL where none does.

    The reasons, in order: `not_train`, `held_back`, `gold_<verdict>`, `flag_<flag>`, `gold_table_dropped`. Raises
    UserError where a question has no gold or no prompt.
    """
    reasons = {"not_train": pl.col("split") != "train"}
    reasons |= {"held_back": pl.col("db_id").is_in(held_back_databases(questions, params.preference_share))}
    reasons |= {f"gold_{verdict}": pl.col("verdict") == verdict for verdict in UNUSABLE}
    reasons |= gold_reasons(params.drop_flags)
    joined = with_columns_of(questions, GOLD, gold, "verdict", "flags")
    joined = with_columns_of(joined, PROMPTS, prompts, "prompt", "lost_tables")
    return joined.select(*questions.columns, "prompt", first_reason(reasons))


def sft_rows(questions: pl.DataFrame) -> pl.DataFrame:
    """The rows of `sft` for these questions, which have a column `prompt`."""
    return questions.select("question_id", "prompt", pl.col("gold_sql").alias("completion"), "origin")


def report_of(reasons: pl.DataFrame, over_share: int) -> dict[str, Any]:
    """Counts of questions: in, out, and dropped for each reason; `over_share` are left out by `strong_share`."""
    counts = reasons["reason"].drop_nulls().value_counts().sort("reason")
    dropped = dict(counts.iter_rows()) | ({"over_share": over_share} if over_share else {})
    return {"in": reasons.height, "out": reasons["reason"].null_count() - over_share, "dropped": dropped}


if __name__ == "__main__":
    run_stage(main)
