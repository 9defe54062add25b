r"""The SQL in a completion: cut out of what a model wrote around it, never repaired.

- A model's thoughts (`<think>`) are no answer, nor is an instruction that it repeats (`[INST]`).
- A text that begins with a statement is that statement, unless it is prose that leads to one in a code fence ("select
  all names: ```sql"). Else the first code fence that begins with one counts, closed or cut at max_tokens; else
  the first statement that stands in prose: after a label, a sentence, a blank line, the mark of a list or a quotation.
- One that stands in quotes, inline code or bold type ends with them.
- Of several statements the first counts, with its `;`: two in one text run nowhere.
- It ends at its `;`, at a fence, or at a chat's end token; not at those in a string, a quoted name or a comment.
"""

import re

_FENCE = r"(?:```|~~~)"
_LINE = rf"\n(?![ \t]*+{_FENCE})"  # a line break that no fence follows: nothing goes on beyond a fence
_QUOTED = "|".join(
    rf"{start}(?:[^{end}\n]|{double}{_LINE})*+{end}?+"
    for start, end, double in (("'", "'", "''|"), ('"', '"', '""|'), ("`", "`", "``|"), (r"\[", r"\]", ""))
)
_STOP = rf"{_FENCE}|</\w|<\||<｜|<end_of_turn>|<eos>|\[INST\]|\[/(?i:inst|sql)\]"
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
_BEGINS_IN_FENCE = re.compile(rf"{_SPACE}(?:\(\s*)*+(?:(?i:select|with)\b|{_OTHER})")
_OPENING = re.compile(r"(?:`{3,}+|~{3,}+)[ \t]*+(?:(?:sql(?:ite)?|mysql|postgres(?:ql)?)\b)?+", re.IGNORECASE)
_INFO = re.compile(r"[^\n`~]*+\n")

_IN_PROSE = re.compile(rf"(?<![\w.])(?:(?:SELECT|select)\b|{_CTE}|{_OTHER})")
_SEEN = 200  # characters before a statement that tell whether it stands in prose
_SAID = 50  # of them: enough for what says that one follows
_ENDED = re.compile(
    r"""(?: [:：]["'`*_\s]* | [.!?]["'`*_)]*\s+ | <\w+>\s* | \[\w+\]\s* | (?<!\w)`
    | \b(?:sql|query|statement|answer|is|use)[*_]*\s+)\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_LIST = re.compile(r"(?:\A|(?<=\n))[ \t]*(?:[-+*•>]|\d+[.)])[ \t]+\Z")
_ENGLISH = re.compile(r"\b(?:the|this|these|that|we|each|every)\b")
# In a list, or in bold type, also the words of a query are explained one by one, and the steps to it.
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


def extract_sql(completion: str) -> str:
    """The first statement in a completion, trimmed; empty where there is none."""
    text = _answer(completion.strip())
    if _BEGINS.match(text):
        return _led_to(text) or _statement(text, 0)
    for opening in _OPENING.finditer(text):
        if (start := _begin_in_fence(text, opening)) is not None:
            return _statement(text, start)
    if re.match(r"(?i:select)\b", text):
        return _statement(text, 0)
    for begin in _IN_PROSE.finditer(text):
        if _stands_in_prose(text, begin):
            return _statement(text, begin.start())
    return text if re.search(r"\bFROM\b", text) else ""  # a part of a query is an attempt, though a wrong one


def _answer(text: str) -> str:
    """What stands behind thoughts and a repeated instruction."""
    if text.startswith("[INST]"):
        instruction, _, after = text.partition("[/INST]")
        return after.strip() or instruction
    thinks = text.startswith("<think>")
    if not thinks and ("</think>" not in text or _BEGINS.match(text)):
        return text
    _, end, after = text.rpartition("</think>")
    return after.strip() if end else ""


def _begin_in_fence(text: str, opening: re.Match[str]) -> int | None:
    """Where the statement begins with which a fence begins, in the line that opens it or in the next."""
    info = _INFO.match(text, opening.end())
    starts = (opening.end(), info.end() if info else len(text))
    return next((start for start in starts if _BEGINS_IN_FENCE.match(text, start)), None)


def _led_to(text: str) -> str:
    """The statement in the fence to which prose leads that begins with the word select or with; empty: none does."""
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
    if mark in _INNER and text[start - 3 : start] != "```":
        inner = _INNER[mark].match(text, start)
        text, start = inner.group() if inner else text[start:].partition(mark)[0], 0
    elif text.endswith("**", 0, start):
        text, start = text[start:].partition("**")[0], 0
    found = _STATEMENT.match(text, start)
    return found.group().strip() if found else ""


def _stands_in_prose(text: str, begin: re.Match[str]) -> bool:
    """Whether what ends before a statement is prose, or a label, and not the beginning of a longer query."""
    start, end = begin.span()
    if text[start - 1 : start] in _INNER and text[start - 1] == text[end : end + 1]:
        return False  # the word itself, in quotes
    before = text[max(0, start - _SEEN) : start]
    before = before[:-1] if before[-1:] in ("'", '"') else before
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
