"""Where a statement without a `;` ends, and what a model wrote behind it begins.

A statement is full of words and blank lines, so it is cut only where the text cannot be SQL any more, outside of
strings, quoted names, comments and parentheses:

- at `；`, and at a line with other full-width punctuation: `该查询返回…。`;
- at a line that begins with a label: `SQLResult:`, `**Explanation:**`, `解释：`. SQL has a colon only before a name;
- at a heading (`### Question`) or a rule (`***`, `===`);
- at a line that begins with SELECT or WITH where a query cannot go on with one: after no UNION, EXCEPT or INTERSECT;
- at a sentence behind a blank line: its first word begins English sentences and no SQL, or is capitalised, and it has
  words such as "the" and "is".

A comment right before such a place goes too.
"""

import re
from dataclasses import dataclass

from stages.sql.text import is_space, tokens_of

_SET_OPERATORS = {"union", "all", "except", "intersect", "minus"}  # the last one of another database: no end
_FULL_WIDTH = "。，、！？："
_LABEL = re.compile(
    r"[ \t]*(?:[*_#>\"-]+[ \t]*)?\w(?:[\w /()]|-(?!-)){0,60}?"
    r"(?:(?<=\w)[:：](?![:=])|(?:\*\*|__|\")?[ \t]?[:：](?![:=\w]))"
)
_HEADING = re.compile(r"[ \t]*(?:#{1,6}[ \t]*\S|(?:\*{3,}|={3,}|_{3,})[ \t]*(?:\n|\Z))")
_STARTERS = (
    "this|these|that|it|its|here|note|we|i|you|the|there|since|because|however|please|let|hope|thus|explanation|"
    "alternatively|in this|to get|to find|if you"
)
_CLAUSES = (
    "select|from|where|group|order|having|limit|join|left|inner|right|full|cross|natural|outer|union|except|intersect|on|"
    "and|or|not|as|with|case|when|then|else|end|offset|values|using|between|in|like|exists|distinct|over|window"
)
_STARTS_SENTENCE = re.compile(
    rf"[ \t]*(?:[-*•>][ \t]+|\d+[.)][ \t]+)?(?:\*\*|[\"'(])?(?!(?i:{_CLAUSES})\b)(?:(?i:{_STARTERS})|[A-Z][a-z]+|I)\b"
)
_ENGLISH = re.compile(r"\b(?:the|this|these|that|we|you|it|are|was|will|would|each|every|returns?|which|of)\b")
_QUOTED = re.compile(r"(?<!\w)'[^']*+'|\"[^\"]*+\"|--.*")
_CHINESE = re.compile(r"[ \t]*[\u4e00-\u9fff]")


@dataclass(slots=True)
class _Place:
    """Where a walk over a statement is: the parentheses that are open, the last word or sign, the SELECTs so far."""

    depth: int = 0
    before: str = ""
    first: str = ""
    selects: int = 0
    line: int = 0  # where the line begins
    blank: bool = False  # whether a blank line stands before it


def without_tail(statement: str) -> str:
    """`statement` up to what is no SQL any more; all of it where there is no such place."""
    place, at = _Place(), 0
    for token in tokens_of(statement):
        if (end := _cut(statement, token, at, place)) is not None:
            return _without_comments(statement[:end])
        _advance(token, at, place)
        at += len(token)
    return statement


def _cut(statement: str, token: str, at: int, place: _Place) -> int | None:
    """Where to cut, seen at a token; None: not here."""
    if is_space(token) or token == ";" or not place.first:
        return None
    if token == "；":
        return at
    if token in _FULL_WIDTH:
        return place.line if place.line and _CHINESE.match(statement, place.line) else at
    begins_line = place.line > 0 and not statement[place.line : at].strip()
    if not begins_line or place.depth:
        return None
    if _LABEL.match(statement, place.line) or _HEADING.match(statement, place.line):
        return place.line
    if token.lower() in ("select", "with") and _begins_another(place):
        return place.line
    return place.line if place.blank and _is_sentence(statement, place.line) else None


def _begins_another(place: _Place) -> bool:
    """Whether a SELECT or a WITH here begins another statement."""
    if place.before in (*_SET_OPERATORS, "as", ":"):
        return False
    return place.first in ("select", "values", "create") or (place.first == "with" and place.selects > 0)


def _is_sentence(statement: str, line: int) -> bool:
    end = statement.find("\n", line)
    text = statement[line : end if end >= 0 else len(statement)]
    return bool(_STARTS_SENTENCE.match(text) and _ENGLISH.search(_QUOTED.sub("", text)))


def _advance(token: str, at: int, place: _Place) -> None:
    if is_space(token):
        if token.isspace() and "\n" in token:
            place.blank = token.count("\n") > 1
            place.line = at + token.rindex("\n") + 1
        elif token.startswith("--"):
            place.blank = False
        return
    word = token.lower()
    place.depth = max(0, place.depth + (token == "(") - (token == ")"))
    place.selects += word == "select" and place.depth == 0
    place.first = place.first or (word if token != "(" else "")
    place.before = word


def _without_comments(text: str) -> str:
    tokens = tokens_of(text)
    while tokens and is_space(tokens[-1]):
        tokens.pop()
    return "".join(tokens)
