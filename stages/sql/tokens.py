"""Cuts SQL text into tokens. Any text has some, SQL or not: nothing is parsed, whatever a model wrote.

Strings, quoted names and comments are cut as SQLite cuts them, one token each, so a `;` or a keyword inside them is
never taken for one outside. There are two cuts of the rest. `tokens_of` gives words, space and single characters, for
reading text that may go on as prose: a full-width sign or a no-break space stands alone. `sql_tokens` cuts as SQLite
does, for comparing queries: there such a character belongs to the word beside it, as `$` does, and numbers and
operators are one token each.
"""

import re
from collections import Counter
from difflib import SequenceMatcher

Tokens = tuple[str, ...]

MOST_COMPARED = 4_000_000
"""Pairs of tokens of two queries: two of 2,000 tokens each."""

# possessive: a text of a million characters takes no more memory than its tokens
_STRING = r"""'[^']*+(?:''[^']*+)*+'?"""
_QUOTED = rf"""{_STRING}|"[^"]*+(?:""[^"]*+)*+"?|`[^`]*+(?:``[^`]*+)*+`?|\[[^\]]*+\]?|--[^\n]*|/\*.*?(?:\*/|\Z)"""
_WORDS = r"\w+|\s+|."
_LEXEMES = r"\d+\.\d*|[\w$\x80-\U0010ffff]+|->>|->|\|\||<<|>>|<>|[<>=!]=|[^ \t\n\f\r]"
_TEXT = re.compile(f"{_QUOTED}|{_WORDS}", re.DOTALL)
_SQL = re.compile(f"[xX]{_STRING}|{_QUOTED}|{_LEXEMES}", re.DOTALL)
_EXACT = ("'", '"', "`", "[", "x'", "X'", "--", "/*")


def tokens_of(sql: str) -> list[str]:
    """The tokens of `sql`, those of space and comments too: together they are the text."""
    return _TEXT.findall(sql)


def is_space(token: str) -> bool:
    """Whether a token is space or a comment."""
    return token.isspace() or token.startswith(("--", "/*"))


def sql_tokens(text: str) -> Tokens:
    """What is compared of a query: its tokens without the space between them, in lower case, without a final `;`.

    Literals, quoted names and comments stay as they are, and so do words with letters outside ASCII: to SQLite, É is
    not é.
    """
    tokens: list[str] = _SQL.findall(text)
    tokens = [token if token.startswith(_EXACT) or not token.isascii() else token.lower() for token in tokens]
    while tokens and tokens[-1] == ";":
        tokens.pop()
    return tuple(tokens)


def similarity(one: Tokens, other: Tokens) -> float:
    """The share of tokens that two queries have in common, in order: 0 none, 1 all; four decimals.

    In order would take time as the product of both lengths. Where that is beyond MOST_COMPARED, the order does not
    count.
    """
    if len(one) * len(other) > MOST_COMPARED:
        common = (Counter(one) & Counter(other)).total()
        return round(2 * common / (len(one) + len(other)), 4)
    return round(SequenceMatcher(None, one, other, autojunk=False).ratio(), 4)
