"""Collations for numbers that a database stores as text: by value, and as text."""

import re
from functools import lru_cache

_LONGEST = 30
_BEFORE_NUMBERS, _AMONG_NUMBERS, _AFTER_NUMBERS = range(3)
_NUMBER = re.compile(r"\s*[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d*)?\s*", re.ASCII)


class NumberOrder:
    """The collation `as_number` of one query, and what it saw.

    Texts that are wholly a number (of at most 30 characters, with commas between thousands too, without an exponent)
    come by their value. All others come before them or after them, as they do as text beside a digit, by their
    characters.
    """

    def __init__(self) -> None:
        self._pairs = self._numbers = self._reordered = 0

    @property
    def matters(self) -> bool:
        """Whether two numbers were ordered otherwise than as text, and most pairs were numbers, not names such as
        "1984" and "300"."""
        return self._reordered > 0 and 2 * self._numbers > self._pairs

    def compare(self, left: str, right: str) -> int:
        """Below, at or above 0, as SQLite wants it of a collation."""
        one, other, plain = _rank(left), _rank(right), as_text(left, right)
        self._pairs += 1
        if one[0] == other[0] == _AMONG_NUMBERS:
            self._numbers += 1
            self._reordered += one != other and (one < other) != (plain < 0)
        return (one > other) - (one < other) or plain


def as_text(left: str, right: str) -> int:
    """The collation `as_text`: that of SQLite's BINARY, but of another name, so that no index is sorted by it."""
    return (left > right) - (left < right)


def _rank(text: str) -> tuple[int, float]:
    return _rank_of_short(text) if len(text) <= _LONGEST else _rank_beside(text)


@lru_cache(maxsize=100_000)
def _rank_of_short(text: str) -> tuple[int, float]:
    return (_AMONG_NUMBERS, float(text.replace(",", ""))) if _NUMBER.fullmatch(text) else _rank_beside(text)


def _rank_beside(text: str) -> tuple[int, float]:
    return (_BEFORE_NUMBERS if text < "0" else _AFTER_NUMBERS, 0.0)
