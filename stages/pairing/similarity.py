"""The similarity of many pairs of texts at once: for each what `stages.sql.tokens.similarity` gives."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stages.pairing.token_numbers import Integers, token_numbers
from stages.sql.tokens import similarity

LONGEST = 256
"""Tokens of a text up to which all pairs are compared together; longer ones are compared one by one."""
_TOGETHER = 32_768
"""Cells of first row of all tables that are filled together: they stay in the processor's cache."""


def token_similarities(chosen: pl.Series, rejected: pl.Series) -> pl.Series:
    """The share of tokens that the two texts of each pair have in common, in order: 0 none, 1 all; four decimals."""
    distinct = pl.concat([chosen, rejected]).unique().alias("text")
    numbered = distinct.to_frame().with_row_index("number")
    first, second = (
        side.alias("text").to_frame().join(numbered, on="text", how="left", maintain_order="left")["number"].to_numpy()
        for side in (chosen, rejected)
    )
    tokens = token_numbers(distinct)
    lengths = tokens.ends - tokens.starts
    longest = np.maximum(lengths[first], lengths[second])
    shares = np.empty(len(first))
    short = longest <= LONGEST
    total = (lengths[first] + lengths[second])[short]
    starts = tokens.starts[first[short]], tokens.starts[second[short]]
    counts = matching_tokens(tokens.numbers, *starts, lengths[first[short]], lengths[second[short]])
    shares[short] = _shares(counts, total)
    for pair in np.flatnonzero(~short):
        shares[pair] = similarity(*(tuple(map(str, tokens.of(text[pair]))) for text in (first, second)))
    return pl.Series(shares)


def _shares(matching: Integers, total: Integers) -> NDArray[np.float64]:
    """`2 * matching / total` as Python rounds it, which numpy does not."""
    distinct, place = np.unique(np.stack([matching, total]), axis=1, return_inverse=True)
    rounded = [round(2.0 * count / tokens, 4) if tokens else 1.0 for count, tokens in distinct.T.tolist()]
    shares: NDArray[np.float64] = np.array(rounded)[place.ravel()]
    return shares


def matching_tokens(
    numbers: Integers, first: Integers, second: Integers, first_length: Integers, second_length: Integers
) -> Integers:
    """How many tokens `difflib.SequenceMatcher` matches of each pair of texts, which start at `first` and `second`.

    As there: the longest block that both have, of several the one that starts earliest in `first`, then earliest in
    `second`; then the same on its left and on its right.
    """
    counts = np.zeros(len(first), dtype=np.int64)
    tasks = np.stack([np.arange(len(first)), first, first + first_length, second, second + second_length])
    while tasks.shape[1]:
        rests = []
        for part in _by_size(tasks[:, (tasks[1] < tasks[2]) & (tasks[3] < tasks[4])]):
            pair, first_start, first_end, second_start, second_end = part
            size, first_block, second_block = _longest_blocks(numbers, *part[1:])
            np.add.at(counts, pair, size)
            left = np.stack([pair, first_start, first_block, second_start, second_block])
            right = np.stack([pair, first_block + size, first_end, second_block + size, second_end])
            rests += [left[:, size > 0], right[:, size > 0]]
        tasks = np.concatenate(rests, axis=1) if rests else tasks[:, :0]
    return counts


def _by_size(tasks: Integers) -> Iterator[Integers]:
    """Parts of like size, and of a number that is compared together."""
    longest = np.maximum(tasks[2] - tasks[1], tasks[4] - tasks[3])
    smallest = 0
    for size in (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, LONGEST):
        alike = tasks[:, (smallest < longest) & (longest <= size)]
        smallest, together = size, _TOGETHER // size
        yield from (alike[:, at : at + together] for at in range(0, alike.shape[1], together))


def _longest_blocks(
    numbers: Integers, first: Integers, first_end: Integers, second: Integers, second_end: Integers
) -> tuple[Integers, Integers, Integers]:
    """Of each task the size of the longest common block, 0 where there is none, and where it starts on both sides.

    `runs` has a row for each token of `second`: how long the block is that ends there and at the present token of
    `first`, times 2**16. What is added below that says which block starts first.
    """
    width, height = int((first_end - first).max()), int((second_end - second).max())
    left, right = _windows(numbers, first, first_end, width, -1), _windows(numbers, second, second_end, height, -2)
    runs = np.zeros((height + 1, len(first)), dtype=np.int32)
    longer = np.empty((height, len(first)), dtype=np.int32)
    later = (LONGEST - 1 - np.arange(height, dtype=np.int32))[:, None]
    best = np.zeros(len(first), dtype=np.int32)
    for at in range(width):
        np.add(runs[:-1], 1 << 16, out=longer)
        np.multiply(longer, right == left[at], out=runs[1:])
        np.add(runs[1:], later, out=longer)
        np.maximum(best, longer.max(axis=0) + ((LONGEST - 1 - at) << 8), out=best)
    size = (best >> 16).astype(np.int64)
    first_last, second_last = LONGEST - 1 - ((best >> 8) & 255), LONGEST - 1 - (best & 255)
    return size, first + first_last - size + 1, second + second_last - size + 1


def _windows(numbers: Integers, starts: Integers, ends: Integers, width: int, filling: int) -> Integers:
    """A column for each task: its tokens, and `filling` behind them."""
    places = starts + np.arange(width)[:, None]
    return np.where(places < ends, numbers[np.minimum(places, len(numbers) - 1)], filling).astype(np.int32)
