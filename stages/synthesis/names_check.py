"""Does a query use what its question names: values, numbers and columns of the database?

The check is lenient, as a right query may name things otherwise than its question: it looks for what the question
spells as the database does. A column or table is looked for only if its name has two words or more, because people use
single words ("name", "year") for other things too. Of the golds of Spider's train set 1.3 % fail the check.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stages.sql.tokens import sql_tokens

_WORD = re.compile(r"[^\W_]+")
_CASE_CHANGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_QUOTED = re.compile(r"'([^']{2,100})'(?!\w)|\"([^\"]{2,100})\"|“([^”]{2,100})”")
_NUMBER = re.compile(r"(?<![\w.,])\d+(?:\.\d+)?(?![\w]|[.,]\d)")
_ENGLISH = frozenset([
    "a", "all", "and", "any", "are", "average", "by", "count", "different", "each", "every", "find", "for", "from",
    "give", "has", "have", "how", "in", "is", "it", "list", "many", "more", "most", "name", "not", "number", "of", "on",
    "or", "return", "show", "than", "that", "the", "their", "there", "these", "to", "total", "what", "when", "where",
    "which", "who", "whose", "with",
])  # fmt: skip
_MIN_WORDS = 4


@dataclass(frozen=True, slots=True)
class DatabaseWords:
    """The names of tables and columns of a database as people say them: the words of a name to all names that are spelt
    so, in lower case."""

    names: Mapping[tuple[str, ...], frozenset[str]]


def words_of_database(names: Iterable[str]) -> DatabaseWords:
    """`names`: those of its tables and columns."""
    by_words: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        by_words.setdefault(_words(name), set()).add(name.lower())
    return DatabaseWords({words: frozenset(spelt) for words, spelt in by_words.items()})


def unused_names(question: str, sql: str, database: DatabaseWords) -> str:
    """A sentence that says what the question names and the query does not use; empty if there is nothing."""
    tokens = sql_tokens(sql)
    texts = " ".join(token[1:-1] for token in tokens if token[0] in "'\"").lower()
    for match in _QUOTED.finditer(question):
        value = next(filter(None, match.groups()))
        if value.strip("% ").lower() not in texts:
            return f"the question names the value {value!r}, and the query does not use it"
    used = {token.strip("'\"`[]").lower() for token in tokens}
    for match in _NUMBER.finditer(question):
        if not _has_number(match[0], tokens, texts):
            return f"the question names the number {match[0]}, and the query does not use it"
    for words, names in database.names.items():
        if len(words) > 1 and not names & used and _named(words, question, database):
            return f"the question names {min(names)}, and the query does not use it"
    return ""


def is_english(question: str) -> bool:
    """Whether a question looks like English: it has one of the commonest words, unless it is very short."""
    words = _WORD.findall(question.lower())
    latin = sum(character.isascii() for character in question) > 0.7 * len(question)
    return latin and (len(words) < _MIN_WORDS or not _ENGLISH.isdisjoint(words))


def _words(name: str) -> tuple[str, ...]:
    return tuple(_singular(word) for word in _WORD.findall(_CASE_CHANGE.sub(" ", name).lower()))


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _named(words: tuple[str, ...], question: str, database: DatabaseWords) -> bool:
    """Whether the question has these words in a row, and not as part of a longer name or value."""
    spoken = _words(question)
    longer = [name for name in database.names if len(name) > len(words)]
    return bool(words) and any(
        spoken[start : start + len(words)] == words and not _inside_longer(spoken, start, words, longer)
        for start in range(len(spoken) - len(words) + 1)
    )


def _inside_longer(
    spoken: tuple[str, ...], start: int, words: tuple[str, ...], longer: Sequence[tuple[str, ...]]
) -> bool:
    for name in longer:
        for first in range(max(0, start + len(words) - len(name)), start + 1):
            if spoken[first : first + len(name)] == name:
                return True
    return False


def _has_number(number: str, tokens: Sequence[str], texts: str) -> bool:
    value = float(number)
    for token in tokens:
        try:
            if float(token) in (value, value / 100, value - 1, value + 1):
                return True
        except ValueError:
            continue
    return number in texts or value in (0.0, 1.0)
