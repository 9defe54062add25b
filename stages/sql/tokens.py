"""The tokens of a query, for comparing texts: any text has some, SQL or not."""

import re
from collections import Counter
from difflib import SequenceMatcher

Tokens = tuple[str, ...]

MOST_COMPARED = 4_000_000
"""Pairs of tokens of two queries: two of 2,000 tokens each."""

_TOKEN = re.compile(
    r"""[xX]?'[^']*+(?:''[^']*+)*+'? | "[^"]*+(?:""[^"]*+)*+"? | `[^`]*+(?:``[^`]*+)*+`? | \[[^\]]*+\]?  # quoted
    | --[^\n]* | /\*.*?(?:\*/|\Z)                                                                       # comments
    | \d+\.\d* | [\w$\x80-\U0010ffff]+ | ->> | -> | \|\| | << | >> | <> | [<>=!]= | [^\ \t\n\f\r]""",
    re.VERBOSE | re.DOTALL,
)
_EXACT = ("'", '"', "`", "[", "x'", "X'", "--", "/*")


def sql_tokens(text: str) -> Tokens:
    """What is compared of a query: its tokens without the space between them, in lower case, without a final `;`.

    Literals, quoted names and comments stay as they are, and so do words with letters outside ASCII: to SQLite, É is
    not é.
    """
    tokens = [_fold(token) for token in _TOKEN.findall(text)]
    while tokens and tokens[-1] == ";":
        tokens.pop()
    return tuple(tokens)


def _fold(token: str) -> str:
    return token if token.startswith(_EXACT) or not token.isascii() else token.lower()


def similarity(one: Tokens, other: Tokens) -> float:
    """The share of tokens that two queries have in common, in order: 0 none, 1 all; four decimals.

    In order would take time as the product of both lengths. Where that is beyond MOST_COMPARED, the order does not
    count.
    """
    if len(one) * len(other) > MOST_COMPARED:
        common = (Counter(one) & Counter(other)).total()
        return round(2 * common / (len(one) + len(other)), 4)
    return round(SequenceMatcher(None, one, other, autojunk=False).ratio(), 4)
