"""The tokens of many texts at once, as numbers: equal numbers where `sql_tokens` gives equal tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stages.sql.tokens import sql_tokens

Integers = NDArray[np.signedinteger[Any]]

_STRING = r"'[^']*(?:''[^']*)*'?"
_NAMES = r"""\"[^"]*(?:""[^"]*)*"?|`[^`]*(?:``[^`]*)*`?|\[[^\]]*\]?"""
_QUOTED = rf"[xX]{_STRING}|{_STRING}|{_NAMES}|--[^\n]*|/\*.*?(?:\*/|\z)"
_LEXEMES = r"[0-9]+\.[0-9]*|[0-9A-Za-z_$]+|->>|->|\|\||<<|>>|<>|[<>=!]=|[^ \t\n\f\r]"
_TOKEN = f"(?s){_QUOTED}|{_LEXEMES}"
"""A token of a text in ASCII, as the pattern of `stages.sql.tokens` cuts it; no part of that can match in two ways, so
it needs no possessive repetition here."""
_EXACT = r"""^(?:[xX]?'|["`\[]|--|/\*)"""


@dataclass(frozen=True)
class TokenNumbers:
    """The tokens of text i are `numbers[starts[i] : ends[i]]`."""

    numbers: Integers
    starts: Integers
    ends: Integers

    def of(self, text: int) -> Integers:
        return self.numbers[self.starts[text] : self.ends[text]]


def token_numbers(texts: pl.Series) -> TokenNumbers:
    """The tokens of each text. A token has one number within a call, and may have another in the next.

    polars cuts texts in ASCII, `sql_tokens` all others: Python and polars need not agree which signs are digits.
    """
    cut = _cut(texts)
    tokens = cut.list.explode(empty_as_null=False)
    numbers, semicolon = _numbers(tokens)
    lengths = cut.list.len().to_numpy().astype(np.int64)
    ends = lengths.cumsum()
    starts = ends - lengths
    return TokenNumbers(numbers, starts, _without_semicolons(numbers != semicolon, starts, ends))


def _cut(texts: pl.Series) -> pl.Series:
    """The tokens of each text, those of a text in ASCII in their own case and with its final `;`."""
    ascii_only = texts.str.len_bytes() == texts.str.len_chars()
    if ascii_only.all():
        return texts.str.extract_all(_TOKEN)
    cut = pl.Series([list(sql_tokens(text)) for text in texts.filter(~ascii_only)], dtype=pl.List(pl.String))
    place = pl.int_range(len(texts), eager=True)
    places = place.filter(ascii_only).append(place.filter(~ascii_only))
    return texts.filter(ascii_only).str.extract_all(_TOKEN).append(cut).gather(places.arg_sort())


def _numbers(tokens: pl.Series) -> tuple[Integers, int]:
    """The number of each token, and that of `;`, -1 where there is none."""
    token = pl.col("token")
    as_it_is = token.str.contains(_EXACT) | (token.str.len_bytes() != token.str.len_chars())
    distinct = tokens.unique().alias("token").to_frame().with_row_index("number")
    distinct = distinct.with_columns(lower=pl.when(as_it_is).then(token).otherwise(token.str.to_lowercase()))
    distinct = distinct.with_columns(pl.col("number").cast(pl.Int32).first().over("lower"))
    joined = tokens.alias("token").to_frame().join(distinct, on="token", how="left", maintain_order="left")
    semicolon = distinct.filter(token == ";")["number"]
    return joined["number"].to_numpy(), -1 if semicolon.is_empty() else semicolon.item()


def _without_semicolons(kept: NDArray[np.bool_], starts: Integers, ends: Integers) -> Integers:
    """Where each text ends if the `;` at its end are left out: behind its last token that is `kept`."""
    behind = np.concatenate([[0], np.flatnonzero(kept) + 1])
    last: Integers = behind[np.searchsorted(behind, ends, side="right") - 1]
    return np.maximum(starts, last)
