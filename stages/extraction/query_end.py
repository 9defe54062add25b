"""Where a statement without a `;` ends, and what a model wrote behind it begins.

A statement is full of words and blank lines, so it is cut only where the text cannot be SQL any more, outside of
strings, quoted names, comments and parentheses:

- at `；` and `。`, and at other full-width punctuation that is no part of a name: `该查询返回…。`;
- at a line that begins with a label: `SQLResult:`, `**Explanation:**`, `解释：`. SQL has a colon only before a name.
  Within a line, at the label of an explanation, a question or a result (LABELS);
- at a heading (`### Question`, `Explanation` on a line of its own), a rule (`***`, `===`) or a symbol (`✅`);
- at a line that begins with SELECT or WITH where a query cannot go on with one: after no UNION, EXCEPT or INTERSECT.
  Within a line, at a SELECT behind a comment: the next example. Else two queries on a line are a mistake of the model;
- at a sentence. It begins with `This`, `The`, `It`, `Here` or the like and two words that are no keywords of SQL (at
  the beginning of a line one is enough), or with `该查询` or the like. On a line of its own it may also begin with
  another capitalised word, if it has three such words in a row, or a blank line before it, and words such as "the";
  behind a blank line, with three words of any language; or with a number, as in a list. Behind a blank line also a
  keyword may begin it, where the query writes none so: `In the query above, …`, `As you can see`;
- at a CREATE on a line of its own, and at a line of a schema as prompts show it, behind a blank line.

A comment right before such a place goes too.
"""

import re
from dataclasses import dataclass

from stages.sql.text import is_space, tokens_of

LABELS = (
    "SQL ?Result|SQL ?Query|Explanations?|Question|Answer|Notes?|Reasoning|Results?|Output|Description|Response|Input|"
    r"Hint|Query|Comment|Human|User|Assistant|Observation|Thought|Step \d{1,2}|解释|说明|答案|注意|注|问题|结果|输出"
)
"""Labels of what follows a query, also on the line of the query."""

_SET_OPERATORS = {"union", "all", "except", "intersect", "minus"}  # the last one of another database: no end
_FULL_WIDTH = "。，、！？："
_LABEL = re.compile(
    r"[ \t]*(?:[*_#>\"-]+[ \t]*)?\w(?:[\w /()]|-(?!-)){0,60}?"
    r"(?:(?<=\w)[:：](?![:=])|(?:\*\*|__|\")?[ \t]?[:：](?![:=\w]))"
)
_LABEL_WITHIN = re.compile(rf"(?<=\s)(?:\*\*|__)?(?:{LABELS})(?:\*\*|__)?(?:：|[ \t]?:(?=[\s*_]|\Z))")
_HEADING = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]*\S|(?:\*{3,}|={3,}|_{3,})[ \t\r]*(?:\n|\Z)|[-*•][ \t]+\*\*"
    r"|\|(?!\|)[^\n]*\|[ \t\r]*\n[ \t]*\|[ :|]*-|\+-{3,}[-+]*\+|\(\d+ rows?\)|\[\(|//|\\\w"
    r"|[\u2190-\u21ff\u2600-\u27bf\U0001f000-\U0001faff])"
)
_TITLE = re.compile(
    rf"[ \t]*(?:\*\*)?(?:(?:{LABELS})|(?:Q|Example) ?\d{{1,3}})(?:\*\*)?[ \t\r]*(?:\n|\Z)"
    r"|[ \t]*\[(?:Question|Answer|SQL|Explanation|Output|Result|Schema)\]"
)
_STARTERS = (
    "this|these|that|it|its|here|note|we|i|you|the|there|since|because|however|please|let|hope|thus|explanation|"
    "alternatively|in this|to get|to find|if you"
)
_CLAUSES = (
    "select|from|where|group|order|having|limit|join|left|inner|right|full|cross|natural|outer|union|except|intersect|on|"
    "and|or|not|as|with|case|when|then|else|end|offset|values|using|between|in|like|exists|distinct|over|window"
)
_NO_KEYWORD = rf"(?!(?i:{_CLAUSES}|by|null|asc|desc|glob|collate|escape|nulls)\b)"
_WORD = rf"{_NO_KEYWORD}[a-z]+(?:'[a-z]+)?\b"
_SCHEMA_LINE = re.compile(  # as a prompt shows a table
    rf"[ \t]*{_NO_KEYWORD}\w+\(\w+(?: -> \w+)?(?:, \w+(?: -> \w+)?)*\)[ \t\r]*(?:\n|\Z)"
)
_ANY_WORD = rf"{_NO_KEYWORD}[^\W\d_]+(?:['’][^\W\d_]+)?\b"
_CAPITALISED = (
    "This|These|That|That's|It|Its|It's|Here|Here's|Note|We|I|I'm|You|The|There|Since|Because|However|Please|Let|"
    "In this"
)
_EAST_ASIAN_SENTENCE = (
    r"(?:这[个条段里]|该|此(?:查询|语句)|上述|以上|解释|说明|注意|其中|我们|この|その|これ|上記|以下)[\u3040-\u30ff\u4e00-\u9fff]{3}"
)
_SENTENCE_WITHIN = re.compile(rf"(?<=\s)(?:(?:{_CAPITALISED}) {_WORD}[ ,]+{_WORD}|{_EAST_ASIAN_SENTENCE})")
_MARK_OF_LINE = r"[ \t]*(?:[-*•>][ \t]+|\d+[.)][ \t]+)?(?:\*\*|[\"'(])?"
_SENTENCE_ON_LINE = re.compile(
    rf"{_MARK_OF_LINE}(?:(?:{_CAPITALISED}) {_WORD}(?![ \t]*[,.(=<>])|{_EAST_ASIAN_SENTENCE})"
)
_STARTS_SENTENCE = re.compile(rf"{_MARK_OF_LINE}(?!(?i:{_CLAUSES})\b)(?:(?i:{_STARTERS})|[A-Z][a-z]+|I)\b")
_THREE_WORDS = re.compile(rf"\b{_WORD}[ ,]+{_WORD}[ ,]+{_WORD}")
_IN_ANY_LANGUAGE = re.compile(rf"{_MARK_OF_LINE}(?P<first>{_ANY_WORD})[ ,]+{_ANY_WORD}[ ,]+{_ANY_WORD}")
_KEYWORD_IN_TITLE_CASE = re.compile(rf"\b(?=[A-Z][a-z])(?i:{_CLAUSES})\b")
_KEYWORD_BEGINS_LINE = re.compile(rf"[ \t]*(?=[A-Z][a-z])(?i:{_CLAUSES})\b")
_FUNCTION_WORD = re.compile(
    r"\b(?:the|this|that|these|we|you|it|are|a|an|of|to|can|will|was|be|here|above|means|all|if)\b"
)
_KEYWORD_SENTENCE = re.compile(
    r"[ \t]*(?:In (?:this|the|other)|As (?:requested|you|we|a)|Using the|From (?:this|the)|On the)\b"
)
_NUMBERED = re.compile(r"[ \t]*\d{1,2}[.)][ \t]+\S")
_ENGLISH = re.compile(r"\b(?:the|this|these|that|we|you|it|are|was|will|would|each|every|returns?|which|of)\b")
_QUOTED = re.compile(r"(?<!\w)'[^']*+'|\"[^\"]*+\"|--.*")
_EAST_ASIAN = re.compile(r"[ \t]*[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
_GOES_ON = re.compile(  # behind full-width punctuation in a name that is not quoted
    r"[\w（）]*+\s*+(?:[,=<>().!+*/|-]|(?:from|as|where|and|or|order|group|having|limit|desc|asc|in|like|between|is|not|join|inner|"
    r"left|on|then|else|end|union|except|intersect)\b)",
    re.IGNORECASE,
)
_WANTS_MORE = {*_CLAUSES.split("|"), *",=<>.(+-*/|", "by", "all", "is"} - {"end", "*"}


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
    if place.depth:
        return None
    if token in _FULL_WIDTH and not _is_in_name(statement, at):
        return place.line if place.line and _EAST_ASIAN.match(statement, place.line) else at
    if place.line > 0 and not statement[place.line : at].strip():
        return place.line if _line_is_no_sql(statement, token, place) else None
    return at if _is_said_within_line(statement, token, at, place) else None


def _is_in_name(statement: str, at: int) -> bool:
    """Whether SQLite reads the full-width sign at `at` as a part of a name, and SQL goes on behind that."""
    return statement[at] != "。" and statement[at - 1].isalnum() and bool(_GOES_ON.match(statement, at + 1))


def _line_is_no_sql(statement: str, token: str, place: _Place) -> bool:
    """Whether the line that begins at a token cannot belong to the statement."""
    if _HEADING.match(statement, place.line) or _begins_with_label(statement, token, place.line):
        return True
    if token.lower() in ("select", "with"):
        return _begins_another(place)
    if place.before in _WANTS_MORE:
        return False
    return bool(
        (place.blank and _TITLE.match(statement, place.line))
        or _NUMBERED.match(statement, place.line)
        or token.lower() == "create"
        or (place.blank and _SCHEMA_LINE.match(statement, place.line))
        or _begins_with_keyword_of_prose(statement, place)
        or _SENTENCE_ON_LINE.match(statement, place.line)
        or _is_sentence(statement, place)
    )


def _begins_with_label(statement: str, token: str, line: int) -> bool:
    """Whether a line begins with a label. A colon in a string or a quoted name makes none."""
    label = _LABEL.match(statement, line)
    is_quoted = len(token) > 1 and token[0] in "'\"" and token[-1] == token[0]
    return bool(label) and not (is_quoted and ":" in token)


def _begins_with_keyword_of_prose(statement: str, place: _Place) -> bool:
    """Whether a line begins with a capitalised keyword as an English sentence does: `In the query above, …`. The query
    itself writes no keyword so."""
    line = statement[place.line :].partition("\n")[0]
    if not _KEYWORD_BEGINS_LINE.match(line) or _KEYWORD_IN_TITLE_CASE.search(statement, 0, place.line):
        return False
    if not place.blank:
        return bool(_KEYWORD_SENTENCE.match(line))
    return bool(_FUNCTION_WORD.search(_QUOTED.sub("", line)))


def _is_said_within_line(statement: str, token: str, at: int, place: _Place) -> bool:
    """Whether another statement, a label or a sentence begins at `at`, on the line of the statement."""
    if place.before in _WANTS_MORE or not statement[at - 1].isspace():
        return False
    if token.lower() == "select" and statement[max(0, at - 20) : at].rstrip().endswith("*/"):
        return _begins_another(place)
    return bool(_LABEL_WITHIN.match(statement, at) or _SENTENCE_WITHIN.match(statement, at))


def _begins_another(place: _Place) -> bool:
    """Whether a SELECT or a WITH here begins another statement."""
    if place.before in (*_SET_OPERATORS, "as", ":"):
        return False
    return place.first in ("select", "values", "create") or (place.first == "with" and place.selects > 0)


def _is_sentence(statement: str, place: _Place) -> bool:
    end = statement.find("\n", place.line)
    text = statement[place.line : end if end >= 0 else len(statement)]
    plain = _QUOTED.sub("", text)
    words = _IN_ANY_LANGUAGE.match(text)
    if place.blank and words and not words["first"][0].islower():
        return True
    if not _STARTS_SENTENCE.match(text) or not _ENGLISH.search(plain):
        return False
    return place.blank or bool(_THREE_WORDS.search(plain))


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
