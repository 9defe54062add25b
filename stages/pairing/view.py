"""The pairs of all questions, computed from tables in parts of whole questions."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from stages.core.progress import progress
from stages.datasets.pairs import PAIRS
from stages.pairing.draw import draw
from stages.pairing.order import NegOrder, most_frequent, nearest, slices_of
from stages.pairing.pair_rows import pair_rows
from stages.pairing.sides import Sides, split_sides
from stages.pairing.similarity import token_similarities
from stages.pairing.syntax_trees import SyntaxTrees

PART = 200_000
"""Candidates that are worked on at once, or those of one question if they are more: memory grows with it."""
THREADS = 2
"""Parts that are worked on at once: much of the work is one thread's of polars or numpy, outside Python's lock."""


@dataclass(frozen=True)
class Settings:
    """How pairs are made; as the params of the same names, and `rejected_verdicts` in place of `neg_filter`."""

    seed: int
    rejected_verdicts: Sequence[str]
    dedup: bool
    keep_gold: bool
    neg_limit: int | None
    neg_order: NegOrder
    pos_limit: int | None
    counterexamples: int


def make_pairs(rows: pl.DataFrame, questions: pl.DataFrame, settings: Settings) -> tuple[pl.DataFrame, Counter[str]]:
    """The rows of `pairs`, in no order; and the counts of what came in and was dropped.

    `rows`: of `candidate_rows`, with `witness_number` and `witness`; `questions` with `prompt` and with the verdict of
    their gold query in the column `verdict`.
    """
    golds = questions.select("verdict", question=pl.int_range(pl.len(), dtype=pl.UInt32), text="gold_sql")
    golds = golds.filter(pl.col("verdict") == "ok").drop("verdict")
    trees, counts, tables = SyntaxTrees(), Counter[str](), [pl.DataFrame(schema=PAIRS.columns)]

    def pairs_of(bounds: tuple[int, int]) -> tuple[pl.DataFrame, Counter[str]]:
        part = rows.filter(pl.col("question").is_between(*bounds))
        sides = split_sides(
            part, golds, settings.rejected_verdicts, settings.dedup, settings.keep_gold, settings.counterexamples
        )
        groups = sides.groups()
        pairs, unparsed = draw_pairs(groups, sides, questions["question_id"], trees, settings)
        part_counts = _counts(part, sides, groups, pairs, settings.pos_limit)
        return pair_rows(pairs, sides, questions), part_counts + sides.dropped + Counter(unparsed=unparsed)

    with progress("pairs", rows.height, "candidates") as bar, ThreadPoolExecutor(THREADS) as pool:
        for table, part_counts in pool.map(pairs_of, parts_of(rows)):
            tables.append(table)
            counts += part_counts
            bar.update(part_counts["candidates"])
    return pl.concat(tables), counts


def parts_of(rows: pl.DataFrame) -> list[tuple[int, int]]:
    """The first and the last question of each part."""
    sizes = rows["question"].value_counts(name="size").sort("question")
    part = (pl.col("size").cum_sum() - pl.col("size")) // PART
    bounds = sizes.group_by(part.alias("part"), maintain_order=True)
    return bounds.agg(pl.first("question"), last=pl.last("question")).drop("part").rows()


def draw_pairs(
    groups: pl.DataFrame, sides: Sides, question_ids: pl.Series, trees: SyntaxTrees, settings: Settings
) -> tuple[pl.DataFrame, int]:
    """The pairs of `groups` as rows of both sides, columns chosen, rejected and similarity; and how many texts have no
    syntax tree, 0 where none is asked for."""
    seeds = f"{settings.seed}/" + question_ids.gather(groups["question"])
    if settings.neg_order == "nearest":
        pairs = draw(groups, seeds, settings.pos_limit, None)
        return nearest(pairs, sides.chosen["text"], sides.rejected["text"], trees, settings.neg_limit)
    if settings.neg_order == "frequent":
        pairs = most_frequent(draw(groups, seeds, settings.pos_limit, None), sides.rejected, settings.neg_limit)
    else:
        pairs = draw(groups, seeds, settings.pos_limit, settings.neg_limit)
    chosen, rejected = sides.chosen["text"], sides.rejected["text"]
    similarities = [
        token_similarities(chosen.gather(part["chosen"]), rejected.gather(part["rejected"]))
        for part in slices_of(pairs)
    ]
    return pairs.with_columns(similarity=pl.concat(similarities)), 0


def _counts(
    part: pl.DataFrame, sides: Sides, groups: pl.DataFrame, pairs: pl.DataFrame, pos_limit: int | None
) -> Counter[str]:
    questions, with_right, with_wrong = (rows["question"].n_unique() for rows in (part, sides.chosen, sides.rejected))
    drawn = groups["chosen"] if pos_limit is None else groups["chosen"].clip(upper_bound=pos_limit)
    return Counter(
        candidates=part.height, questions=questions, with_right=with_right, with_wrong=with_wrong,
        with_both=groups.height, never_right=questions - with_right, never_wrong=questions - with_wrong,
        over_pos_limit=int((groups["chosen"] - drawn).sum()),
        over_neg_limit=int((drawn.cast(pl.Int64) * groups["rejected"]).sum()) - pairs.height,
    )  # fmt: skip
