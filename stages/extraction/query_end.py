"""Finds the end of a statement without a `;`: where the text that a model wrote after it begins.

A statement may contain many words and blank lines, so it is cut only where the text can no longer be SQL, outside of
strings, quoted names, comments and parentheses:

- at `；` and `。`, and at other full-width punctuation that is not part of a name: `该查询返回…。`;
- at a line that begins with a label: `SQLResult:`, `**Explanation:**`, `解释：`. SQL has a colon only before a name.
  Within a line, at the label of an explanation, a question or a result (LABELS);
- at a heading (`### Question`, `Explanation` on its own line), a rule (`***`, `===`) or a symbol (`✅`);
- at a line that begins with SELECT or WITH where a query cannot continue with one: not after UNION, EXCEPT, INTERSECT.
  Within a line, at a SELECT after a comment: the next example. Otherwise two queries on a line are the model's mistake;
- at a sentence. It begins with `This`, `The`, `It`, `Here` or the like and two words that are not SQL keywords (one at
  the beginning of a line), or with `该查询` or the like. On its own line it may also begin with another capitalised
  word, if it has words such as "the" and either three words in a row or a blank line before it; with a number, as in a
  list; or, after a blank line, with three words of any language. After a blank line a keyword may begin it too, if the
  query writes none in title case: `In the query above, …`, `As you can see`;
- at a CREATE on its own line, and, after a blank line, at a line of a schema as prompts show it.

A comment just before the end is removed too.
"""

import re
from dataclasses import dataclass

from stages.sql.tokens import is_space, tokens_of

LABELS = (
    "SQL ?Result|SQL ?Query|Explanations?|Question|Answer|Notes?|Reasoning|Results?|Output|Description|Response|Input|"
    r"Hint|Query|Comment|Human|User|Assistant|Observation|Thought|Step \d{1,2}|解释|说明|答案|注意|注|问题|结果|输出"
)
"""Labels of text after a query, also on the same line."""

_SET_OPERATORS = {"union", "all", "except", "intersect", "minus"}  # `minus`: of another dialect
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
_CONTINUES = re.compile(  # after full-width punctuation in an unquoted name
    r"[\w（）]*+\s*+(?:[,=<>().!+*/|-]|(?:from|as|where|and|or|order|group|having|limit|desc|asc|in|like|between|is|not|join|inner|"
    r"left|on|then|else|end|union|except|intersect)\b)",
    re.IGNORECASE,
)
_EXPECTS_OPERAND = {*_CLAUSES.split("|"), *",=<>.(+-*/|", "by", "all", "is"} - {"end", "*"}


@dataclass(slots=True)
class _State:
    """The state of a scan of a statement's tokens."""

    depth: int = 0  # of parentheses
    before: str = ""  # the last word or sign
    first: str = ""  # the first word
    selects: int = 0  # outside of parentheses
    line: int = 0  # position of the beginning of the line
    blank: bool = False  # whether a blank line is before it


def cut_trailing_text(statement: str) -> str:
    """Returns `statement` up to the text that is not SQL, if there is any."""
    state, at = _State(), 0
    for token in tokens_of(statement):
        if (end := _end(statement, token, at, state)) is not None:
            kept = tokens_of(statement[:end])
            while kept and is_space(kept[-1]):
                kept.pop()
            return "".join(kept)
        _advance(token, at, state)
        at += len(token)
    return statement


def _end(statement: str, token: str, at: int, state: _State) -> int | None:
    """Returns the position of the end if the token at `at` shows that the statement has ended, else None."""
    if is_space(token) or token == ";" or not state.first:
        return None
    if token == "；":
        return at
    if state.depth:
        return None
    if token in _FULL_WIDTH and not _is_in_name(statement, at):
        return state.line if state.line and _EAST_ASIAN.match(statement, state.line) else at
    if state.line > 0 and not statement[state.line : at].strip():
        return state.line if _line_is_text(statement, token, state) else None
    return at if _text_begins_within_line(statement, token, at, state) else None


def _is_in_name(statement: str, at: int) -> bool:
    """Whether the full-width sign at `at` is part of a name, as SQLite reads it, after which SQL continues."""
    return statement[at] != "。" and statement[at - 1].isalnum() and bool(_CONTINUES.match(statement, at + 1))


def _line_is_text(statement: str, token: str, state: _State) -> bool:
    """Whether the line that begins with the token cannot belong to the statement."""
    is_quoted = len(token) > 1 and token[0] in "'\"" and token[-1] == token[0]
    is_label = _LABEL.match(statement, state.line) and not (is_quoted and ":" in token)
    if is_label or _HEADING.match(statement, state.line):
        return True
    if token.lower() in ("select", "with"):
        return _begins_another(state)
    if state.before in _EXPECTS_OPERAND:
        return False
    return bool(
        (state.blank and _TITLE.match(statement, state.line))
        or _NUMBERED.match(statement, state.line)
        or token.lower() == "create"
        or (state.blank and _SCHEMA_LINE.match(statement, state.line))
        or _begins_with_keyword_of_prose(statement, state)
        or _SENTENCE_ON_LINE.match(statement, state.line)
        or _is_sentence(statement, state)
    )


def _begins_with_keyword_of_prose(statement: str, state: _State) -> bool:
    """Whether a line begins with a keyword in title case, as an English sentence does (`In the query above, …`), while
    the query itself writes no keyword in title case."""
    line = statement[state.line :].partition("\n")[0]
    if not _KEYWORD_BEGINS_LINE.match(line) or _KEYWORD_IN_TITLE_CASE.search(statement, 0, state.line):
        return False
    return bool(_FUNCTION_WORD.search(_QUOTED.sub("", line)) if state.blank else _KEYWORD_SENTENCE.match(line))


def _text_begins_within_line(statement: str, token: str, at: int, state: _State) -> bool:
    """Whether another statement, a label or a sentence begins at `at`, within a line of the statement."""
    if state.before in _EXPECTS_OPERAND or not statement[at - 1].isspace():
        return False
    if token.lower() == "select" and statement[max(0, at - 20) : at].rstrip().endswith("*/"):
        return _begins_another(state)
    return bool(_LABEL_WITHIN.match(statement, at) or _SENTENCE_WITHIN.match(statement, at))


def _begins_another(state: _State) -> bool:
    """Whether a SELECT or a WITH at this point begins another statement."""
    if state.before in (*_SET_OPERATORS, "as", ":"):
        return False
    return state.first in ("select", "values", "create") or (state.first == "with" and state.selects > 0)


def _is_sentence(statement: str, state: _State) -> bool:
    end = statement.find("\n", state.line)
    text = statement[state.line : end if end >= 0 else len(statement)]
    plain = _QUOTED.sub("", text)
    words = _IN_ANY_LANGUAGE.match(text)
    if state.blank and words and not words["first"][0].islower():
        return True
    if not _STARTS_SENTENCE.match(text) or not _ENGLISH.search(plain):
        return False
    return state.blank or bool(_THREE_WORDS.search(plain))


def _advance(token: str, at: int, state: _State) -> None:
    if is_space(token):
        if token.isspace() and "\n" in token:
            state.blank = token.count("\n") > 1
            state.line = at + token.rindex("\n") + 1
        elif token.startswith("--"):
            state.blank = False
        return
    word = token.lower()
    state.depth = max(0, state.depth + (token == "(") - (token == ")"))
    state.selects += word == "select" and state.depth == 0
    state.first = state.first or (word if token != "(" else "")
    state.before = word
