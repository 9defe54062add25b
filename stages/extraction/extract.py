r"""The SQL in a completion: cut out of what a model wrote around it, never repaired.

- Thoughts, channels and a repeated prompt are no answer; what stands between marks of an answer, or as a string in
  JSON, is (`stages.extraction.answer`).
- A text that begins with a statement is that statement, unless it is prose that leads to one in a code fence ("select
  all names: ```sql"). Else the first code fence that begins with one counts, closed or cut at max_tokens; else
  the first statement that stands in prose: after a label, a sentence, a blank line, the mark of a list or a quotation.
- Of several fences, or several statements in prose, the last counts whose heading calls it the final, corrected or full
  query, else the first. A heading that begins with "if", "for" or "to" tells of another case.
- One that stands in quotes, inline code or bold type ends with them.
- Of several statements the first counts, with its `;`: two in one text run nowhere. A schema that is repeated before
  the query (CREATE TABLE) is passed over.
- It ends at its `;`, at a fence, or at a chat's end token; not at those in a string, a quoted name or a comment.
  Without a `;` it ends before what cannot be SQL any more (`stages.extraction.query_end`).
"""

import re

from stages.extraction.answer import ANSWERS, THOUGHTS, json_strings, marked_answers, without_thoughts
from stages.extraction.query_end import without_tail

_FENCE = r"(?:```|~~~)"
_LINE = rf"\n(?![ \t]*+{_FENCE})"  # a line break that no fence follows: nothing goes on beyond a fence
_QUOTED = "|".join(
    rf"{start}(?:[^{end}\n]|{double}{_LINE})*+{end}?+"
    for start, end, double in (("'", "'", "''|"), ('"', '"', '""|'), ("`", "`", "``|"), (r"\[", r"\]", ""))
)
_STOP = (
    rf"{_FENCE}|</\w|<\||<｜|\[INST\]|\[/(?i:inst|sql)\]"
    r"|<(?:end_of_\w{1,20}|start_of_turn|turn\||eos|eot|im_end|pad|unk|file_sep|fim_\w{1,20}|jupyter_\w{1,20}|extra_id_\d+)>"
    rf"|<(?i:br)\s?/?>|<(?:\w{{1,20}}[:_])?(?i:{THOUGHTS}|{ANSWERS})>"
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
_SEEN = 200  # characters before a statement that tell whether it stands in prose
_MOST_IN_PROSE = 50  # statements in prose that are looked at
_HEADED = 100  # characters before a fence that hold its heading
_SAID = 150  # of them: enough for what says that one follows
_ENDED = re.compile(
    r"""(?: [:：]\s*(?:\|\s)?["'`*_\s]* | [.!?]["'`*_)]*\s+ | <\w+(?:\s[^<>\n]{0,100})?>\s* | \[\w+\]\s* | (?<!\w)`
    | \b(?:sql|sqlite|mysql|query|statement|answer|is|use)[*_>]*\s+)\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_CODE = re.compile(
    r"(?:\b\w{0,50}(?:sql|query|statement|stmt)\w{0,50}\s{0,10}=|\b(?:execute|read_sql|text)\w{0,50}\()\s*[rf]{0,2}\Z",
    re.IGNORECASE,
)
_LIST = re.compile(r"(?:\A|(?<=\n))[ \t]*(?:[-+*•>]|\d+[.)])[ \t]+\Z")
_ENGLISH = re.compile(r"\b(?:the|this|these|that|we|each|every)\b")
# In a list, or in bold type, also the words of a query are explained one by one, and the steps to it.
_LEAD = re.compile(r"(?i:select|with)\b[^\n;]{0,300}[:：]\s*\n\s*")
_WHOLE = re.compile(rf"(?:SELECT|select|WITH|with)\b(?:(?!\*\*|:\s|{_ENGLISH.pattern})[^\n])*?\b(?:FROM|from)\b")
# What stands in quotes. In it a mark behind a space or a sign, before a letter, begins a string that another ends.
_INNER = {
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
    """The first statement in a completion, trimmed; empty where there is none."""
    text = completion.strip().removeprefix("\ufeff").strip()
    text = without_thoughts(text, bool(_BEGINS.match(text)))
    if not _BEGINS.match(text):
        for answer in (*marked_answers(text), *(json_strings(text) if text.startswith(("{", "[", '"')) else ())):
            if _BEGINS_IN_FENCE.match(sql := _sql_in(answer)):
                return sql
    return _sql_in(text)


def _sql_in(text: str) -> str:
    """The first statement in an answer."""
    if _BEGINS.match(text):
        return _led_to(text) or _query(text, 0)
    if sql := _in_fences(text) or next(filter(None, map(_sql_in_json, json_strings(text))), ""):
        return sql
    if re.match(r"(?i:select)\b", text):
        return _led_to(text) or _statement(text, 0)
    begins = [begin.start() for begin in _IN_PROSE.finditer(text) if _stands_in_prose(text, begin)][:_MOST_IN_PROSE]
    if begins:
        return _query(text, next((start for start in begins[1:] if _is_final(text, start)), begins[0]))
    return text if re.search(r"\bFROM\b", text) else ""  # a part of a query is an attempt, though a wrong one


def _in_fences(text: str) -> str:
    """The statement of the fence that counts; empty where none begins with one."""
    chosen = ""
    for opening in _OPENING.finditer(text):
        if chosen and not _is_final(text, opening.start()):
            continue
        if (start := _begin_in_fence(text, opening)) is not None:
            chosen = chosen if chosen and _OTHER_BEGINS.match(text, start) else _query(text, start)
        else:
            chosen = next(filter(None, map(_sql_in_json, json_strings(_inside(text, opening)))), chosen)
    return chosen


def _is_final(text: str, start: int) -> bool:
    """Whether the last line before a fence or a statement, which is not empty, says that it is the final one."""
    line = text[max(0, start - _HEADED) : start].rstrip().rpartition("\n")[2].strip(" \t#*_>:：`.")
    return bool(_FINAL.search(line)) and not _ON_CONDITION.match(line)


def _inside(text: str, opening: re.Match[str]) -> str:
    """What a fence holds, without the line that opens it."""
    info = _INFO.match(text, opening.end())
    start = info.end() if info else opening.end()
    end = text.find(opening.group()[:3], start)
    inside = text[start : end if end >= 0 else len(text)].lstrip()
    return inside if inside.startswith(("{", "[")) else ""


def _sql_in_json(string: str) -> str:
    return _query(string, 0) if _BEGINS_IN_FENCE.match(string) else ""


def _query(text: str, start: int) -> str:
    """The statement that begins at `start`; where that is of a schema, the query that follows it, if there is one."""
    statement = _statement(text, start)
    if _SCHEMA.match(statement) and (query := _NEXT_QUERY.search(text, start + len(statement) - 1)):
        return _statement(text, query.end())
    return statement


def _begin_in_fence(text: str, opening: re.Match[str]) -> int | None:
    """Where the statement begins with which a fence begins, in the line that opens it or in the next."""
    info = _INFO.match(text, opening.end())
    starts = (opening.end(), info.end() if info else len(text))
    return next((start for start in starts if _BEGINS_IN_FENCE.match(text, start)), None)


def _led_to(text: str) -> str:
    """The statement in the fence, or on the next lines, to which prose leads that begins with the word select or with;
    empty: none does."""
    if (line := _LEAD.match(text)) and _ENGLISH.search(line.group()) and _BEGINS.match(text, line.end()):
        return _query(text, line.end())
    lead = _STATEMENT.match(text) if text[0].islower() else None
    opening = _OPENING.match(text, lead.end()) if lead else None
    if not lead or not opening:
        return ""
    tagged = opening.group().strip("`~ \t")
    english = tagged and _ENGLISH.search(re.sub(_QUOTED, "", lead.group()))
    prose = english or lead.group().rstrip().endswith((":", "："))
    start = _begin_in_fence(text, opening) if prose else None
    return "" if start is None else _statement(text, start)


def _statement(text: str, start: int) -> str:
    """The statement that begins at `start`; in quotes, inline code or bold type it ends with them."""
    mark = text[start - 1 : start]
    if (triple := text[max(0, start - _SEEN) : start].rstrip()[-3:]) in ('"""', "'''"):
        text, start = text[start:].partition(triple)[0], 0
    elif mark in _INNER and text[start - 3 : start] != "```":
        inner = _INNER[mark].match(text, start)
        text, start = inner.group() if inner else text[start:].partition(mark)[0], 0
    elif text.endswith("**", 0, start):
        text, start = text[start:].partition("**")[0], 0
    match = _STATEMENT.match(text, start)
    return without_tail(match.group().strip()) if match else ""


def _stands_in_prose(text: str, begin: re.Match[str]) -> bool:
    """Whether what ends before a statement is prose, or a label, and not the beginning of a longer query."""
    start, end = begin.span()
    if text[start - 1 : start] in _INNER and text[start - 1] == text[end : end + 1]:
        return False  # the word itself, in quotes
    before = text[max(0, start - _SEEN) : start]
    if before[-1:] in ("'", '"'):
        before = before[:-1]
        if _IN_CODE.search(before, max(0, len(before) - _SAID)):
            return True
    plain = _LIST.sub("", before.removesuffix("**"))
    if plain != before and _WHOLE.match(text, start):
        before = plain
    if not before or _ENDED.search(before, max(0, len(before) - _SAID)):
        return True
    line = before.rstrip().rpartition("\n")[2]
    if "\n" not in before[len(before.rstrip()) :]:
        return False
    # Who writes SELECT writes FROM, so that "from" is an English word there.
    return not _CONNECTIVE.search(line.swapcase() if text[start].isupper() else line)
