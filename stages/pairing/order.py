"""`neg_order`: which rejected texts of a chosen one come first."""

from collections.abc import Iterator
from typing import Literal

import polars as pl

from stages.pairing.syntax_trees import SyntaxTrees

NegOrder = Literal["random", "nearest", "frequent"]
TOGETHER = 500_000
"""Pairs whose trees, or tokens, are in memory at once."""


def most_frequent(pairs: pl.DataFrame, rejected: pl.DataFrame, neg_limit: int | None) -> pl.DataFrame:
    """Of the pairs of each chosen the `neg_limit` whose rejected SQL most samples of the question have.

    `pairs`: as `draw` gives them, without a limit; `rejected`: that side, column samples.
    """
    keys = -rejected["samples"].cast(pl.Int64).gather(pairs["rejected"])
    return _first(pairs.with_columns(keys.alias("key")), neg_limit).drop("key")


def nearest(
    pairs: pl.DataFrame, chosen: pl.Series, rejected: pl.Series, trees: SyntaxTrees, neg_limit: int | None
) -> tuple[pl.DataFrame, int]:
    """Of the pairs of each chosen the `neg_limit` whose rejected text is nearest to it as a syntax tree, with their
    `similarity`: the share of branches that both have; NULL, and last, where sqlglot cannot parse one of them. And how
    many of all these texts it cannot parse.

    `pairs`: as `draw` gives them, without a limit; `chosen`, `rejected`: the texts of the sides.
    """
    lists = {name: _branches(pairs[name], side, trees) for name, side in (("chosen", chosen), ("rejected", rejected))}
    sizes = pl.col("chosen").list.len() + pl.col("rejected").list.len()
    distances = pl.col("chosen").list.set_symmetric_difference("rejected").list.len()
    columns = [
        pl.DataFrame({name: side.gather(part[name]) for name, side in lists.items()})
        .select(key=distances, similarity=(1 - distances / sizes).round(4))
        for part in slices_of(pairs)
    ]  # fmt: skip
    unparsed = sum(side.gather(pairs[name].unique()).null_count() for name, side in lists.items())
    return _first(pairs.hstack(pl.concat(columns)), neg_limit).drop("key"), unparsed


def slices_of(pairs: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The pairs in slices of TOGETHER; one without pairs where there are none."""
    for start in range(0, max(1, pairs.height), TOGETHER):
        yield pairs.slice(start, TOGETHER)


def _branches(used: pl.Series, texts: pl.Series, trees: SyntaxTrees) -> pl.Series:
    """The branches of each text of a side that is in a pair; NULL for the others."""
    used = used.unique().sort()
    branches = used.to_frame("row").with_columns(branches=trees.branches(texts.gather(used)))
    rows = pl.int_range(len(texts), dtype=pl.UInt32, eager=True).to_frame("row")
    return rows.join(branches, on="row", how="left", maintain_order="left")["branches"]


def _first(pairs: pl.DataFrame, neg_limit: int | None) -> pl.DataFrame:
    """The `neg_limit` pairs of each chosen with the smallest `key`, NULL last; of equal keys those drawn first."""
    ordered = pairs.sort("chosen", "key", nulls_last=True, maintain_order=True)
    if neg_limit is None:
        return ordered
    return ordered.filter(pl.int_range(pl.len()).over("chosen") < neg_limit)
