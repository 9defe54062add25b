"""Makes the preference pairs: of each question's executed candidates, right ones are chosen and wrong ones rejected."""

import argparse
from collections import Counter
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from stages.core.end_line import counts_text, write_report
from stages.core.errors import UserError, run_stage
from stages.core.params import PARAMS_FILE, Params, read_params
from stages.core.receipts import open_dataset, open_datasets
from stages.core.tables import write_dataset
from stages.datasets.candidates import CANDIDATES
from stages.datasets.counterexamples import COUNTEREXAMPLES
from stages.datasets.exec_results import EXEC_RESULTS
from stages.datasets.gold import GOLD
from stages.datasets.pairs import PAIRS
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS, with_columns_of
from stages.datasets.verdicts import GoldFlag
from stages.pairing.exclusions import exclude_questions
from stages.pairing.order import NegOrder
from stages.pairing.presets import Preset, preset_problems
from stages.pairing.rows import RESULT_COLUMNS, SAMPLE_COLUMNS, candidate_rows, with_witnesses
from stages.pairing.sides import REASONS
from stages.pairing.view import Settings, make_pairs


def _at_least_one(limit: int | None) -> int | None:
    if limit is not None and limit < 1:
        raise PydanticCustomError("limit", "give 1 or more, or null for no limit")
    return limit


Limit = Annotated[int | None, AfterValidator(_at_least_one)]

REJECTED = {
    "all": ("mismatch", "exec_error", "over_budget", "no_sql"),
    "executable": ("mismatch",),
    "error": ("exec_error", "over_budget", "no_sql"),
}
"""`neg_filter` to the verdicts that may be rejected. A query over its budget gave no result: it is an `error`."""


class PairsParams(Params):
    """Section `pairs` of params.yaml; a limit of null is none. `drop_flags`: audit flags of a gold query that keep its
    question from giving pairs."""

    preset: Preset | None
    seed: int = Field(ge=-(2**63), lt=2**63)
    drop_flags: list[GoldFlag]
    dedup: bool
    keep_gold: bool
    neg_filter: Literal["all", "executable", "error"]
    neg_limit: Limit
    neg_order: NegOrder
    pos_limit: Limit
    counterexamples: int = Field(ge=0, lt=2**63)

    def problems(self) -> list[str]:
        """A sentence for each param that is not what `preset` has."""
        return preset_problems(self.preset, self.model_dump())


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.pairs", description=__doc__).parse_args()
    params = read_params("pairs", PairsParams)
    if problems := params.problems():
        raise UserError(*(f"{PARAMS_FILE}: {problem}" for problem in problems))
    questions, gold, prompts, counterexamples = open_datasets(QUESTIONS, GOLD, PROMPTS, COUNTEREXAMPLES)
    questions = with_gold_and_prompts(questions, gold, prompts)
    del gold, prompts
    candidates, results = open_dataset(CANDIDATES, SAMPLE_COLUMNS), open_dataset(EXEC_RESULTS, RESULT_COLUMNS)
    rows = candidate_rows(questions, candidates, results)
    del candidates, results  # memory holds one table of candidates, not three
    rows, excluded = exclude_questions(with_witnesses(rows, counterexamples), questions, params.drop_flags)
    table, counts = make_pairs(rows, questions, settings_of(params))
    write_dataset(table, PAIRS)
    report = report_of(table, counts, excluded, params.neg_order)
    rejected = f"rejected: {counts_text(report['rejected_verdict']) or 'none'}"
    not_drawn = f"not drawn: {counts_text(report['not_drawn']) or 'none'}"
    figures = f"from {report['questions']['with_both']:,} questions", not_drawn, rejected
    write_report("pairs", report, table.height, report["dropped"], *figures, what="candidates dropped")


def with_gold_and_prompts(questions: pl.DataFrame, gold: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """What pairs need of the questions. Raises UserError where a question has no gold or no prompt."""
    columns = questions.select("question_id", "db_id", "gold_sql")
    return with_columns_of(
        with_columns_of(columns, GOLD, gold, "verdict", "flags"), PROMPTS, prompts, "prompt", "lost_tables"
    )


def settings_of(params: PairsParams) -> Settings:
    values = params.model_dump(exclude={"preset", "drop_flags", "neg_filter"})
    return Settings(rejected_verdicts=REJECTED[params.neg_filter], **values)


def report_of(
    table: pl.DataFrame, counts: Counter[str], excluded: pl.DataFrame, neg_order: NegOrder
) -> dict[str, Any]:
    """Counts: candidates in, pairs out, candidates dropped per reason, questions, and what the limits left out.

    `excluded`: the counts of `exclude_questions`, by reasons that concern whole questions; all other reasons concern
    single candidates.

    `over_pos_limit` counts right texts, `over_neg_limit` pairs; `unparsed`, None unless `neg_order` is nearest, texts
    that have no syntax tree.
    """

    def counts_of(*names: str) -> dict[str, int]:
        return {name: counts[name] for name in names}

    return {
        "in": counts["candidates"] + int(excluded["candidates"].sum()),
        "out": table.height,
        "dropped": {
            **dict(excluded.select("reason", "candidates").iter_rows()),
            **counts_of(*REASONS),
        },
        "questions": {
            "in": counts["questions"] + int(excluded["questions"].sum()),
            "dropped": dict(excluded.select("reason", "questions").iter_rows()),
            **counts_of("with_right", "with_wrong", "with_both", "never_right", "never_wrong"),
        },
        "not_drawn": counts_of("over_pos_limit", "over_neg_limit"),
        "unparsed": counts["unparsed"] if neg_order == "nearest" else None,
        "gold_chosen": table["chosen_id"].null_count(),
        "rejected_verdict": dict(table["rejected_verdict"].value_counts().sort("rejected_verdict").iter_rows()),
    }


if __name__ == "__main__":
    run_stage(main)
