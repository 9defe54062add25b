"""Makes the preference pairs: of each question's executed candidates, right ones are chosen and wrong ones rejected."""

import argparse
from collections import Counter
from itertools import groupby
from typing import Annotated, Literal

import polars as pl
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from tqdm import tqdm

from stages.core.errors import run_stage
from stages.core.files import fingerprint, write_json
from stages.core.layout import report_file
from stages.core.params import Params, read_params
from stages.core.receipts import open_datasets
from stages.core.tables import write_dataset
from stages.datasets.candidates import CANDIDATES
from stages.datasets.exec_results import EXEC_RESULTS
from stages.datasets.gold import GOLD
from stages.datasets.pairs import PAIRS
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS, with_columns_of
from stages.datasets.verdicts import GoldFlag
from stages.pairing.draw import Draw, Sides, Text, draw, split_chosen_rejected, text_of
from stages.pairing.exclusions import exclude_questions
from stages.sql.tokens import similarity


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

    seed: int = Field(ge=-(2**63), lt=2**63)
    drop_flags: list[GoldFlag]
    dedup: bool
    keep_gold: bool
    neg_filter: Literal["all", "executable", "error"]
    neg_limit: Limit
    pos_limit: Limit


Pair = tuple[str, Text, Text]
"""question_id, chosen, rejected."""


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.pairs", description=__doc__).parse_args()
    params = read_params("pairs", PairsParams)
    questions, gold, prompts, candidates, results = open_datasets(QUESTIONS, GOLD, PROMPTS, CANDIDATES, EXEC_RESULTS)
    questions = with_columns_of(questions, GOLD, gold, "verdict", "flags")
    questions = with_columns_of(questions, PROMPTS, prompts, "prompt", "lost_tables")
    results, excluded = exclude_questions(results, questions, params.drop_flags)
    pairs, counts = make_pairs(questions, candidates, results, params)
    table = pair_rows(pairs, questions)
    write_dataset(table, PAIRS)
    write_json(report_file("pairs"), report_of(table, counts, excluded))


def make_pairs(
    questions: pl.DataFrame, candidates: pl.DataFrame, results: pl.DataFrame, params: PairsParams
) -> tuple[list[Pair], Counter[str]]:
    """The pairs of all questions, in the order of question_id; and the counts of what came in and was dropped.

    `questions` have the verdict of their gold query in the column `verdict`.
    """
    golds = dict(questions.filter(pl.col("verdict") == "ok").select("question_id", "gold_sql").iter_rows())
    completions = candidates.select("candidate_id", "sample", "completion")
    rows = results.join(completions, on="candidate_id").sort("question_id", "sample", "candidate_id")
    columns = rows.select("question_id", "candidate_id", "verdict", "sql", "completion").iter_rows()
    pairs: list[Pair] = []
    counts: Counter[str] = Counter()
    progress = tqdm(columns, total=rows.height, desc="pairs", mininterval=5)
    for question_id, group in groupby(progress, key=lambda row: row[0]):
        texts = [text_of(*fields) for _, *fields in group]
        gold = text_of(None, "match", golds[question_id], "") if question_id in golds else None
        sides = split_chosen_rejected(texts, gold, REJECTED[params.neg_filter], params.dedup, params.keep_gold)
        drawn = draw(sides, f"{params.seed}/{question_id}", params.pos_limit, params.neg_limit)
        pairs += [(question_id, *pair) for pair in drawn.pairs]
        counts += sides.dropped + _question_counts(len(texts), sides, drawn)
    return pairs, counts


def _question_counts(candidates: int, sides: Sides, drawn: Draw) -> Counter[str]:
    has_chosen, has_rejected = bool(sides.chosen), bool(sides.rejected)
    return Counter(
        candidates=candidates, questions=1, with_right=has_chosen, with_wrong=has_rejected,
        with_both=has_chosen and has_rejected, never_right=not has_chosen, never_wrong=not has_rejected,
        over_pos_limit=drawn.over_pos_limit, over_neg_limit=drawn.over_neg_limit,
    )  # fmt: skip


def pair_rows(pairs: list[Pair], questions: pl.DataFrame) -> pl.DataFrame:
    """The rows of `pairs`, each with the `db_id` and the `prompt` of its question."""
    rows = [
        {
            "pair_id": fingerprint(question_id, chosen.id, chosen.text, rejected.id, rejected.text)[:16],
            "question_id": question_id, "chosen": chosen.text, "rejected": rejected.text, "chosen_id": chosen.id,
            "rejected_id": rejected.id, "rejected_verdict": rejected.verdict,
            "similarity": similarity(chosen.tokens, rejected.tokens),
        }
        for question_id, chosen, rejected in tqdm(pairs, desc="similarity", mininterval=5)
    ]  # fmt: skip
    own = {name: dtype for name, dtype in PAIRS.columns.items() if name not in ("db_id", "prompt")}
    columns = questions.select("question_id", "db_id", "prompt")
    return pl.DataFrame(rows, schema=own).join(columns, on="question_id", how="left").select(*PAIRS.columns)


def report_of(table: pl.DataFrame, counts: Counter[str], excluded: pl.DataFrame) -> dict[str, object]:
    """Counts: candidates in, pairs out, candidates dropped per reason, questions, and what the limits left out.

    `excluded`: the counts of `exclude_questions`, by reasons that concern whole questions; all other reasons concern
    single candidates.

    `over_pos_limit` counts right texts, `over_neg_limit` pairs.
    """

    def counts_of(*names: str) -> dict[str, int]:
        return {name: counts[name] for name in names}

    return {
        "in": counts["candidates"] + int(excluded["candidates"].sum()),
        "out": table.height,
        "dropped": {
            **dict(excluded.select("reason", "candidates").iter_rows()),
            **counts_of("undecided", "gold_error", "not_in_neg_filter", "blank", "equal_to_right", "duplicate"),
        },
        "questions": {
            "in": counts["questions"] + int(excluded["questions"].sum()),
            "dropped": dict(excluded.select("reason", "questions").iter_rows()),
            **counts_of("with_right", "with_wrong", "with_both", "never_right", "never_wrong"),
        },
        "not_drawn": counts_of("over_pos_limit", "over_neg_limit"),
        "gold_chosen": table["chosen_id"].null_count(),
        "rejected_verdict": dict(table["rejected_verdict"].value_counts().sort("rejected_verdict").iter_rows()),
    }


if __name__ == "__main__":
    run_stage(main)
