"""Draws the pairs of many questions: numbers of texts, not the texts themselves."""

import random
from array import array

import numpy as np
import polars as pl


def draw(groups: pl.DataFrame, seeds: pl.Series, pos_limit: int | None, neg_limit: int | None) -> pl.DataFrame:
    """The pairs of all `groups` (`Sides.groups`), in the order drawn, as rows of the sides: columns chosen, rejected.

    Of each group at most `pos_limit` chosen, each with at most `neg_limit` rejected. Every group draws with a generator
    of its own, whose seed is a text. Whole permutations are drawn and their beginnings taken, so that a higher limit
    only adds pairs.
    """
    generator = random.Random()
    chosen, rejected = array("I"), array("I")
    sizes = zip(seeds.to_list(), groups["chosen"].to_list(), groups["rejected"].to_list(), strict=True)
    for seed, right_texts, wrong_texts in sizes:
        generator.seed(seed)
        order = generator.sample(range(right_texts), right_texts)[:pos_limit]
        chosen.extend(order)
        for _ in order:
            rejected.extend(generator.sample(range(wrong_texts), wrong_texts)[:neg_limit])
    drawn = _at_most(groups["chosen"], pos_limit)
    each = np.repeat(_at_most(groups["rejected"], neg_limit), drawn)
    of_chosen = np.repeat(groups["first_chosen"].to_numpy(), drawn) + np.frombuffer(chosen, np.uint32)
    firsts = np.repeat(np.repeat(groups["first_rejected"].to_numpy(), drawn), each)
    columns = {"chosen": np.repeat(of_chosen, each), "rejected": firsts + np.frombuffer(rejected, np.uint32)}
    return pl.DataFrame(columns, schema={"chosen": pl.UInt32, "rejected": pl.UInt32})


def _at_most(counts: pl.Series, limit: int | None) -> "np.typing.NDArray[np.uint32]":
    return (counts if limit is None else counts.clip(upper_bound=limit)).to_numpy()
