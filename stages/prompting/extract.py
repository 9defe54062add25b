r"""The SQL in a completion: cut out of what a model wrote around it, never repaired.

- A model's thoughts (`<think>`) are no answer.
- A text that begins with a statement is that statement. Else the first code fence that begins with one counts, closed
  or cut at max_tokens; else the first statement that stands in prose: after a label, a sentence, a blank line.
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
_STOP = rf"{_FENCE}|</\w|<\||<｜|<end_of_turn>|<eos>|\[/?INST\]"
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
_ENDED = re.compile(
    r"""(?: [:：]["'`*_\s]* | [.!?]["'`*_)]*\s+ | <\w+>\s* | \W`
    | \b(?:sql|query|statement|answer|is|use)[*_]*\s+)\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_CONNECTIVE = re.compile(
    r"\b(?:from|where|join|on|group|by|having|order|limit|union|all|except|intersect|in|exists|as|and|or|not)\b"
    r"|[(,=<>+*/|]\s*\Z"
)


def extract_sql(completion: str) -> str:
    """The first statement in a completion, trimmed; empty where there is none."""
    text = _after_thoughts(completion.strip())
    if _BEGINS.match(text):
        return _statement(text, 0)
    for opening in _OPENING.finditer(text):
        info = _INFO.match(text, opening.end())
        for start in (opening.end(), info.end() if info else len(text)):
            if _BEGINS_IN_FENCE.match(text, start):
                return _statement(text, start)
    if re.match(r"(?i:select)\b", text):
        return _statement(text, 0)
    for begin in _IN_PROSE.finditer(text):
        if _stands_in_prose(text, begin.start()):
            return _statement(text, begin.start())
    return text if re.search(r"\bFROM\b", text) else ""  # a part of a query is an attempt, though a wrong one


def _after_thoughts(text: str) -> str:
    thinks = text.startswith("<think>")
    if not thinks and ("</think>" not in text or _BEGINS.match(text)):
        return text
    _, end, after = text.rpartition("</think>")
    return after.strip() if end else ""


def _statement(text: str, start: int) -> str:
    """The statement that begins at `start`; in inline code or quotes it ends with them."""
    mark = text[start - 1 : start]
    if mark and mark in "\"`" and text[start - 3 : start] != "```":
        text, start = text[start:].partition(mark)[0], 0
    found = _STATEMENT.match(text, start)
    return found.group().strip() if found else ""


def _stands_in_prose(text: str, start: int) -> bool:
    """Whether what ends before `start` is prose, or a label, and not the beginning of a longer query."""
    before = text[max(0, start - _SEEN) : start]
    if _ENDED.search(before):
        return True
    line = before.rstrip().rpartition("\n")[2]
    if "\n" not in before[len(before.rstrip()) :]:
        return False
    # Who writes SELECT writes FROM, so that "from" is an English word there.
    return not _CONNECTIVE.search(line.swapcase() if text[start].isupper() else line)
