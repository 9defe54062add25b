r"""Extracts the SQL from a completion. The SQL is cut out of the text around it, and never repaired.

- Reasoning, channels and a repeated prompt are skipped. An answer in tags or in a JSON string is searched first
  (`stages.extraction.answer`).
- A text that begins with a statement is that statement, unless it is prose that introduces one in a code fence ("select
  all names: ```sql"). Otherwise the first code fence that begins with a statement counts, closed or truncated;
  otherwise the first statement in prose: after a label, a sentence, a blank line, a list marker or a quotation mark.
- Of several fences, or several statements in prose, the last counts whose heading calls it the final, corrected or full
  query, else the first. A heading that begins with "if", "for" or "to" is about another case.
- A statement in quotes, inline code or bold type ends with them.
- Of several statements the first counts, with its `;`, because no engine runs two at once. A schema that is repeated
  before the query (CREATE TABLE) is skipped.
- A statement ends at its `;`, at a fence, or at a chat's end token, but not at those in a string, a quoted name or a
  comment. Without a `;` it ends where the text can no longer be SQL (`stages.extraction.query_end`).
"""

import re

from stages.extraction.answer import ANSWERS, REASONING, json_strings, strip_reasoning, tagged_answers
from stages.extraction.query_end import cut_trailing_text

_FENCE = r"(?:```|~~~)"
_LINE = rf"\n(?![ \t]*+{_FENCE})"  # a line break before a fence ends everything
_QUOTED = "|".join(
    rf"{start}(?:[^{end}\n]|{double}{_LINE})*+{end}?+"
    for start, end, double in (("'", "'", "''|"), ('"', '"', '""|'), ("`", "`", "``|"), (r"\[", r"\]", ""))
)
_STOP = (
    rf"{_FENCE}|</\w|<\||<｜|\[INST\]|\[/(?i:inst|sql)\]"
    r"|<(?:end_of_\w{1,20}|start_of_turn|turn\||eos|eot|im_end|pad|unk|file_sep|fim_\w{1,20}|jupyter_\w{1,20}|extra_id_\d+)>"
    rf"|<(?i:br)\s?/?>|<(?:\w{{1,20}}[:_])?(?i:{REASONING}|{ANSWERS})>"
)
_STATEMENT = re.compile(
    rf"(?:[^;'\"`\[</~-]++|(?!{_STOP})(?:{_QUOTED}|--[^\n]*+|/\*(?:(?!\*/)(?:[^\n]|{_LINE}))*+|[^;]))*+;?+"
)

_SPACE = rf"(?:\s|--(?:(?!{_FENCE})[^\n])*+|/\*(?:(?!\*/|{_FENCE})[\s\S])*+\*/)*+"
_NAME = r"""(?:\w{1,128}|"[^"]{1,128}"|`[^`]{1,128}`|\[[^\]]{1,128}\])"""
_CTE = rf"(?i:with)\s+(?:(?i:recursive)\s+)?{_NAME}\s*(?:\([^()]*\)\s*)?(?i:as)\b"
_OTHER = (
    r"(?i:values\s*\(|(?:explain\s+(?:query\s+plan\s+)?(?:select|with)|(?:insert|replace)\s+(?:or\s+\w+\s+)?into|"
    r"update\s+\S+\s+set|delete\s+from|(?:create|drop|alter)\s+(?:temp\w*\s+|unique\s+)?(?:table|view|index|trigger)|"
    r"attach\s+database|pragma\s+\w+)\b)"
)
_BEGINS = re.compile(rf"{_SPACE}(?:\(\s*)*+(?:(?:SELECT|select|WITH|with)\b|{_CTE}|{_OTHER})")
_OTHER_BEGINS = re.compile(rf"{_SPACE}{_OTHER}")
_BEGINS_IN_FENCE = re.compile(rf"{_SPACE}(?:\(\s*)*+(?:(?i:select|with)\b|{_OTHER})")
_OPENING = re.compile(r"(?:`{3,}+|~{3,}+)[ \t]*+(?:(?:sql(?:ite)?|mysql|postgres(?:ql)?)\b)?+", re.IGNORECASE)
_INFO = re.compile(r"[^\n`~]*+\n")

_IN_PROSE = re.compile(rf"(?<![\w.])(?:(?:SELECT|select)\b|{_CTE}|{_OTHER})")
_CONTEXT_LENGTH = 200  # characters before a statement that show whether it is in prose
_LEAD_IN_LENGTH = 150  # characters before a statement that hold its lead-in
_HEADING_LENGTH = 100  # characters before a fence or statement that hold its heading
_MAX_IN_PROSE = 50  # statements in prose that are searched
_LEAD_IN = re.compile(
    r"""(?: [:：]\s*(?:\|\s)?["'`*_\s]* | [.!?]["'`*_)]*\s+ | <\w+(?:\s[^<>\n]{0,100})?>\s* | \[\w+\]\s* | (?<!\w)`
    | \b(?:sql|sqlite|mysql|query|statement|answer|is|use)[*_>]*\s+)\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_CODE = re.compile(
    r"(?:\b\w{0,50}(?:sql|query|statement|stmt)\w{0,50}\s{0,10}=|\b(?:execute|read_sql|text)\w{0,50}\()\s*[rf]{0,2}\Z",
    re.IGNORECASE,
)
_LIST_MARKER = re.compile(r"(?:\A|(?<=\n))[ \t]*(?:[-+*•>]|\d+[.)])[ \t]+\Z")
_ENGLISH = re.compile(r"\b(?:the|this|these|that|we|each|every)\b")
_PROSE_LINE = re.compile(r"(?i:select|with)\b[^\n;]{0,300}[:：]\s*\n\s*")
# Lists and bold type also explain the words of a query one by one; only a whole query counts there.
_WHOLE_QUERY = re.compile(rf"(?:SELECT|select|WITH|with)\b(?:(?!\*\*|:\s|{_ENGLISH.pattern})[^\n])*?\b(?:FROM|from)\b")
# Text in quotes. Inside it, a mark after a space or a sign and before a letter begins a string.
_QUOTED_TEXT = {
    mark: re.compile(rf"(?:[^{mark}]++|(?<=[\s=(,<>|+.]){mark}(?=[\w%])[^{mark}]*+{mark})*+(?={mark})")
    for mark in ("'", '"', "`")
}
_CONNECTIVE = re.compile(
    r"\b(?:from|where|join|on|group|by|having|order|limit|union|all|except|intersect|in|exists|as|and|or|not)\b"
    r"|[(,=<>+*/|]\s*\Z"
)

_OF_QUERY = r"(?:sql|sqlite|query|version|answer|statement|code|solution)"
_CORRECTED = r"(?:final|corrected|revised|fixed|improved|updated|complete|correct|full|right|whole)"
_FINAL = re.compile(
    rf"\A(?:final|corrected|revised|fixed|updated)(?:\s+{_OF_QUERY}){{0,2}}\Z|\b{_CORRECTED}\s+(?:{_OF_QUERY}\s+)?{_OF_QUERY}\b"
    r"|\bputting it (?:all )?together\b|\blet me (?:fix|correct)\b|最终|修正|更正|改正|正确的",
    re.IGNORECASE,
)
_ON_CONDITION = re.compile(r"(?:if|for|to|alternatively|optionally|when|in case|note)\b", re.IGNORECASE)
_SCHEMA = re.compile(rf"{_SPACE}(?i:create\s+(?:temp\w*\s+|unique\s+)?(?:table|view|index))\b")
_NEXT_QUERY = re.compile(r"(?:(?<=\n)|(?<=;))[ \t]*(?=(?:select|with)\b)", re.IGNORECASE)


def extract_sql(completion: str) -> str:
    """Returns the statement that a completion answers with, trimmed; "" if there is none."""
    text = completion.strip().removeprefix("\ufeff").strip()
    text = strip_reasoning(text, bool(_BEGINS.match(text)))
    if not _BEGINS.match(text):
        for answer in (*tagged_answers(text), *(json_strings(text) if text.startswith(("{", "[", '"')) else ())):
            if _BEGINS_IN_FENCE.match(sql := _sql_in(answer)):
                return sql
    return _sql_in(text)


def _sql_in(text: str) -> str:
    """Returns the statement in an answer; "" if there is none."""
    if _BEGINS.match(text):
        return _introduced_statement(text) or _query(text, 0)
    if sql := _in_fences(text) or next(filter(None, map(_sql_in_json, json_strings(text))), ""):
        return sql
    if re.match(r"(?i:select)\b", text):
        return _introduced_statement(text) or _statement(text, 0)
    starts = [begin.start() for begin in _IN_PROSE.finditer(text) if _is_in_prose(text, begin)][:_MAX_IN_PROSE]
    if starts:
        return _query(text, next((start for start in starts[1:] if _is_final(text, start)), starts[0]))
    return text if re.search(r"\bFROM\b", text) else ""  # part of a query counts as a wrong query, not as none


def _in_fences(text: str) -> str:
    """Returns the statement of the code fence that counts; "" if no fence begins with a statement."""
    chosen = ""
    for opening in _OPENING.finditer(text):
        if chosen and not _is_final(text, opening.start()):
            continue
        if (start := _begin_in_fence(text, opening)) is not None:
            chosen = chosen if chosen and _OTHER_BEGINS.match(text, start) else _query(text, start)
        else:
            info = _INFO.match(text, opening.end())
            start = info.end() if info else opening.end()
            end = text.find(opening.group()[:3], start)
            content = text[start : end if end >= 0 else len(text)].lstrip()
            strings = json_strings(content) if content.startswith(("{", "[")) else ()
            chosen = next(filter(None, map(_sql_in_json, strings)), chosen)
    return chosen


def _is_final(text: str, start: int) -> bool:
    """Whether the last nonempty line before a fence or a statement says that it is the final one."""
    line = text[max(0, start - _HEADING_LENGTH) : start].rstrip().rpartition("\n")[2].strip(" \t#*_>:：`.")
    return bool(_FINAL.search(line)) and not _ON_CONDITION.match(line)


def _sql_in_json(string: str) -> str:
    return _query(string, 0) if _BEGINS_IN_FENCE.match(string) else ""


def _query(text: str, start: int) -> str:
    """Returns the statement at `start`, or the query after it if the statement creates a part of a schema."""
    statement = _statement(text, start)
    if _SCHEMA.match(statement) and (query := _NEXT_QUERY.search(text, start + len(statement) - 1)):
        return _statement(text, query.end())
    return statement


def _begin_in_fence(text: str, opening: re.Match[str]) -> int | None:
    """Returns the position of a statement at the beginning of a fence, on its opening line or the next, or None."""
    info = _INFO.match(text, opening.end())
    starts = (opening.end(), info.end() if info else len(text))
    return next((start for start in starts if _BEGINS_IN_FENCE.match(text, start)), None)


def _introduced_statement(text: str) -> str:
    """Returns the statement, in a fence or on the next lines, that prose beginning with "select" or "with" introduces;
    "" if the text is no such prose."""
    if (line := _PROSE_LINE.match(text)) and _ENGLISH.search(line.group()) and _BEGINS.match(text, line.end()):
        return _query(text, line.end())
    prose = _STATEMENT.match(text) if text[0].islower() else None
    opening = _OPENING.match(text, prose.end()) if prose else None
    if not prose or not opening:
        return ""
    language = opening.group().strip("`~ \t")
    is_english = language and _ENGLISH.search(re.sub(_QUOTED, "", prose.group()))
    is_prose = is_english or prose.group().rstrip().endswith((":", "："))
    start = _begin_in_fence(text, opening) if is_prose else None
    return "" if start is None else _statement(text, start)


def _statement(text: str, start: int) -> str:
    """Returns the statement at `start`. In quotes, inline code or bold type it ends with them."""
    mark = text[start - 1 : start]
    if (triple := text[max(0, start - _CONTEXT_LENGTH) : start].rstrip()[-3:]) in ('"""', "'''"):
        text, start = text[start:].partition(triple)[0], 0
    elif mark in _QUOTED_TEXT and text[start - 3 : start] != "```":
        inner = _QUOTED_TEXT[mark].match(text, start)
        text, start = inner.group() if inner else text[start:].partition(mark)[0], 0
    elif text.endswith("**", 0, start):
        text, start = text[start:].partition("**")[0], 0
    match = _STATEMENT.match(text, start)
    return cut_trailing_text(match.group().strip()) if match else ""


def _is_in_prose(text: str, begin: re.Match[str]) -> bool:
    """Whether the text before a statement is prose or a label, and not the beginning of a longer query."""
    start, end = begin.span()
    if text[start - 1 : start] in _QUOTED_TEXT and text[start - 1] == text[end : end + 1]:
        return False  # the word itself, in quotes
    before = text[max(0, start - _CONTEXT_LENGTH) : start]
    if before[-1:] in ("'", '"'):
        before = before[:-1]
        if _IN_CODE.search(before, max(0, len(before) - _LEAD_IN_LENGTH)):
            return True
    plain = _LIST_MARKER.sub("", before.removesuffix("**"))
    if plain != before and _WHOLE_QUERY.match(text, start):
        before = plain
    if not before or _LEAD_IN.search(before, max(0, len(before) - _LEAD_IN_LENGTH)):
        return True
    line = before.rstrip().rpartition("\n")[2]
    if "\n" not in before[len(before.rstrip()) :]:
        return False
    # Next to SELECT in upper case, "from" in lower case is an English word.
    return not _CONNECTIVE.search(line.swapcase() if text[start].isupper() else line)
