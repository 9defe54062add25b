"""Makes the preference pairs: of each question's executed candidates, right ones are chosen and wrong ones rejected."""

import argparse
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from tqdm import tqdm

from stages.core.errors import run_stage
from stages.core.files import fingerprint, write_json
from stages.core.params import Params, read_params
from stages.core.receipts import require_receipts
from stages.core.tables import COLUMNS, read_table, write_table
from stages.datasets.verdicts import GoldFlag
from stages.pairing.draw import Text, draw, sides, text_of
from stages.pairing.exclusions import sort_out
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

ASKED = ("db_id", "prompt")
"""Columns of `pairs` that are the question's, not the pair's."""


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
    args = _arguments()
    params = read_params("pairs", PairsParams)
    tables = {name: getattr(args, name) for name in ("questions", "gold", "prompts", "candidates", "exec_results")}
    require_receipts({getattr(args, f"{name}_receipt"): path for name, path in tables.items()})
    questions, gold, prompts, candidates, results = (read_table(path, name) for name, path in tables.items())
    counts: Counter[str] = Counter()
    kept, left_out = sort_out(results, gold, prompts, params.drop_flags)
    pairs = make_pairs(questions, gold, candidates, kept, params, counts)
    table = pair_rows(pairs, prompts)
    write_table(table, args.pairs, "pairs")
    write_json(args.report, report_of(table, counts, left_out))


def make_pairs(
    questions: pl.DataFrame, gold: pl.DataFrame, candidates: pl.DataFrame, results: pl.DataFrame, params: PairsParams,
    counts: Counter[str],
) -> list[Pair]:
    """The pairs of all questions, in the order of question_id. Adds to `counts` what came in and what was dropped."""
    usable = gold.filter(pl.col("verdict") == "ok").select("question_id")
    golds = dict(questions.join(usable, on="question_id").select("question_id", "gold_sql").iter_rows())
    said = candidates.select("candidate_id", "sample", "completion")
    rows = results.join(said, on="candidate_id").sort("question_id", "sample", "candidate_id")
    columns = rows.select("question_id", "candidate_id", "verdict", "sql", "completion").iter_rows()
    pairs: list[Pair] = []
    shown = tqdm(columns, total=rows.height, desc="pairs", mininterval=5)
    for question_id, group in groupby(shown, key=lambda row: row[0]):
        texts = [text_of(*rest) for _, *rest in group]
        gold_text = text_of(None, "match", golds[question_id], "") if question_id in golds else None
        right, wrong = sides(texts, gold_text, REJECTED[params.neg_filter], params.dedup, params.keep_gold, counts)
        counts["candidates"] += len(texts)
        counts.update(_question_counts(right, wrong))
        drawn = draw(right, wrong, f"{params.seed}/{question_id}", params.pos_limit, params.neg_limit, counts)
        pairs += [(question_id, *pair) for pair in drawn]
    return pairs


def _question_counts(right: list[Text], wrong: list[Text]) -> list[str]:
    names = {
        "questions": True, "with_right": right, "with_wrong": wrong, "with_both": right and wrong,
        "never_right": not right, "never_wrong": not wrong,
    }  # fmt: skip
    return [name for name, holds in names.items() if holds]


def pair_rows(pairs: list[Pair], prompts: pl.DataFrame) -> pl.DataFrame:
    """The rows of `pairs`, each with the prompt of its question."""
    rows = [
        {
            "pair_id": fingerprint(question_id, chosen.id, chosen.text, rejected.id, rejected.text)[:16],
            "question_id": question_id, "chosen": chosen.text, "rejected": rejected.text, "chosen_id": chosen.id,
            "rejected_id": rejected.id, "rejected_verdict": rejected.verdict,
            "similarity": similarity(chosen.tokens, rejected.tokens),
        }
        for question_id, chosen, rejected in tqdm(pairs, desc="similarity", mininterval=5)
    ]  # fmt: skip
    table = pl.DataFrame(rows, schema={name: dtype for name, dtype in COLUMNS["pairs"].items() if name not in ASKED})
    asked = prompts.select("question_id", *ASKED)
    return table.join(asked, on="question_id", how="left").select(*COLUMNS["pairs"])


def report_of(table: pl.DataFrame, counts: Counter[str], left_out: pl.DataFrame) -> dict[str, object]:
    """Counts: candidates in, pairs out, candidates dropped per reason, questions, and what the limits left out.

    `left_out`: what `sort_out` counted. Each is the reason of whole questions; the other reasons are a candidate's own.

    `over_pos_limit` counts right texts, `over_neg_limit` pairs.
    """

    def some(*names: str) -> dict[str, int]:
        return {name: counts[name] for name in names}

    return {
        "in": counts["candidates"] + int(left_out["candidates"].sum()),
        "out": table.height,
        "dropped": {
            **dict(left_out.select("reason", "candidates").iter_rows()),
            **some("undecided", "gold_error", "not_in_neg_filter", "blank", "equal_to_right", "duplicate"),
        },
        "questions": {
            "in": counts["questions"] + int(left_out["questions"].sum()),
            "dropped": dict(left_out.select("reason", "questions").iter_rows()),
            **some("with_right", "with_wrong", "with_both", "never_right", "never_wrong"),
        },
        "not_drawn": some("over_pos_limit", "over_neg_limit"),
        "gold_chosen": table["chosen_id"].null_count(),
        "rejected_verdict": dict(table["rejected_verdict"].value_counts().sort("rejected_verdict").iter_rows()),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.pairs", description=__doc__)
    for name in ("questions", "gold", "prompts", "candidates", "exec-results"):
        parser.add_argument(f"--{name}", type=Path, required=True)
        parser.add_argument(f"--{name}-receipt", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True, help="the table to write")
    parser.add_argument("--report", type=Path, required=True, help="the counts to write")
    return parser.parse_args()


if __name__ == "__main__":
    run_stage(main)
