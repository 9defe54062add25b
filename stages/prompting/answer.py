r"""The answer in a completion: without a model's thoughts, in the form that the model gives it.

1. A byte order mark at the beginning goes.
2. Of a model that writes into channels (gpt-oss), the last `final` channel is the answer, with or without the special
   tokens between the channels. Without such a channel there is no answer.
3. Thoughts go: what stands between the marks of THOUGHTS, in any case, with or without a namespace (`<mm:think>`). A
   mark that is not closed hides all that follows. A closing mark alone hides all that stands before it, because the
   opening one may stand in the prompt. A text that begins with a statement keeps everything.
4. Of an instruction that is repeated (`[INST]`), what stands behind it is the answer.
5. What stands between the marks of ANSWERS, in `\boxed{…}` or as a string in a JSON object, is the answer if it holds a
   statement (`stages.prompting.extract` decides that).
"""

import json
import re
from collections.abc import Iterator

THOUGHTS = "think|thinking|thought|thoughts|reasoning|reason|analysis|reflection|scratchpad|inner_monologue"
"""Names of marks around thoughts: `<think>`, `[THINK]`, `◁think▷`, `<|begin_of_thought|>`, `<|START_THINKING|>`."""

ANSWERS = "answer|final_answer|final|response|output|solution|result"
"""Names of marks around an answer: `<answer>`, `[ANSWER]`, `<|begin_of_box|>`, `<|START_RESPONSE|>`."""

SQL_KEYS = (
    "sql", "sqlite", "sql_query", "sqlquery", "query", "final_sql", "answer", "final_answer", "response", "output",
)  # fmt: skip
"""Keys of a JSON object that are looked at first; then all others."""


_MOST_ANSWERS = 8  # marked answers that are looked at, from the last one


def _marks(names: str, special: str) -> tuple[str, str]:
    """Regular expressions of the opening and the closing mark."""
    named = rf"(?:\w{{1,20}}:)?(?:{names})"
    bracketed = "think|thinking|thought|thoughts|reasoning|answer|final_answer"  # the others may be names of columns
    bracketed = "|".join(name for name in bracketed.split("|") if name in names.split("|"))
    opening = (
        rf"<{named}(?:\s[^<>\n]{{0,200}})?>|\[(?:{bracketed})\]|◁(?:{names})▷|<\|(?:begin_of_|start_)(?:{special})\|>"
    )
    closing = rf"</{named}\s?>|\[/(?:{bracketed})\]|◁/(?:{names})▷|<\|end_(?:of_)?(?:{special})\|>"
    return opening, closing


_THOUGHT_OPENS, _THOUGHT_CLOSES = _marks(THOUGHTS, "thought|thinking")
_ANSWER_OPENS, _ANSWER_CLOSES = _marks(ANSWERS, "box|response|solution|answer")
_THOUGHT_MARK = re.compile(rf"(?P<open>{_THOUGHT_OPENS})|(?P<close>{_THOUGHT_CLOSES})", re.IGNORECASE)
_ANSWER_OPEN, _ANSWER_CLOSE = (re.compile(marks, re.IGNORECASE) for marks in (_ANSWER_OPENS, _ANSWER_CLOSES))
_CHANNEL = re.compile(r"<\|channel\|>\s*(?P<name>\w+)[^<\n]{0,100}(?:<\|constrain\|>[^<\n]{0,100})?<\|message\|>")
_GLUED = re.compile(r"(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'`(\d])")
_GLUED_FINAL = re.compile(r"(?:\A|assistant)final(?=\S)")
_BOXED = re.compile(r"\\boxed\s*\{")


def without_thoughts(text: str, begins_as_statement: bool) -> str:
    """What stands outside of thoughts, channels and a repeated instruction; empty where a thought never ends."""
    if channels := list(_CHANNEL.finditer(text)):
        return _behind_last(text, [channel for channel in channels if channel["name"] == "final"])
    if _GLUED.match(text):
        return _behind_last(text, list(_GLUED_FINAL.finditer(text)))
    if not begins_as_statement:
        text = _outside(text)
    if text.startswith("[INST]"):
        instruction, _, after = text.partition("[/INST]")
        return after.strip() or instruction
    return text


def _behind_last(text: str, finals: list[re.Match[str]]) -> str:
    return text[finals[-1].end() :].strip() if finals else ""


def _outside(text: str) -> str:
    parts, start, depth = [], 0, 0
    for mark in _THOUGHT_MARK.finditer(text):
        if mark["open"]:
            parts += [text[start : mark.start()]] if depth == 0 else []
            depth += 1
        elif depth == 0:
            parts = []  # it was opened in the prompt
        depth = max(0, depth - bool(mark["close"]))
        start = mark.end()
    return "".join([*parts, text[start:] if depth == 0 else ""]).strip()


def marked_answers(text: str) -> Iterator[str]:
    """What stands between marks of an answer, the last first: of an answer that is cut, what there is of it."""
    for opening in list(_ANSWER_OPEN.finditer(text))[: -_MOST_ANSWERS - 1 : -1]:
        closing = _ANSWER_CLOSE.search(text, opening.end())
        yield text[opening.end() : closing.start() if closing else len(text)].strip()
    for boxed in list(_BOXED.finditer(text))[: -_MOST_ANSWERS - 1 : -1]:
        yield _in_braces(text, boxed.end())


def _in_braces(text: str, start: int) -> str:
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[start : brace.start()].strip()
    return text[start:].strip()


def json_strings(text: str) -> Iterator[str]:
    """The strings in the JSON object or list that a text begins with, those of SQL_KEYS first. Others have none."""
    if not text.startswith(("{", "[")):
        return
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text)
        found = list(_strings("", value))
    except (ValueError, RecursionError):
        return
    order = {key: place for place, key in enumerate(SQL_KEYS)}
    for _, string in sorted(found, key=lambda pair: order.get(pair[0].lower(), len(order))):
        yield string.encode("utf-8", "replace").decode()  # JSON can write half a surrogate pair


def _strings(key: str, value: object) -> Iterator[tuple[str, str]]:
    """Each string in a JSON value with the key that it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for part in value:
            yield from _strings(key, part)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _strings(name, part)
