"""The tokens of a query, for comparing texts: any text has some, SQL or not."""

import re
from difflib import SequenceMatcher

Tokens = tuple[str, ...]

_TOKEN = re.compile(
    r"""[xX]?'(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `(?:[^`]|``)*(?:`|\Z) | \[[^\]]*(?:\]|\Z)  # quoted
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
    """The share of tokens that two queries have in common, in order: 0 none, 1 all; four decimals."""
    return round(SequenceMatcher(None, one, other, autojunk=False).ratio(), 4)
