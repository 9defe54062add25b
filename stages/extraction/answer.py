r"""The answer in a completion: without a model's thoughts, in the form that the model gives it.

1. A byte order mark at the beginning goes.
2. Of a model that writes into channels (gpt-oss), the last `final` channel is the answer, with or without the special
   tokens between the channels. Without such a channel there is no answer.
3. Of a prompt that is repeated, what stands behind the first mark of the model's turn (TURNS) is the answer.
4. Thoughts go: what stands between the marks of THOUGHTS, in any case, with or without a prefix (`<mm:think>`). A mark
   that is not closed hides all that follows. A closing mark alone hides all that stands before it, because the opening
   one may stand in the prompt. A text that begins with a statement keeps everything, unless thoughts end in it.
5. What stands between the marks of ANSWERS, in `\boxed{…}` or as a string in JSON is the answer if it holds a
   statement (`stages.extraction.extract` decides that).
"""

import json
import re
from collections.abc import Iterator
from itertools import islice

THOUGHTS = "think|thinking|thought|thoughts|reasoning|reason|analysis|reflection|scratch_?pad|inner_monologue"
"""Names of marks around thoughts: `<think>`, `[THINK]`, `◁think▷`, `<|begin_of_thought|>`, `<|START_THINKING|>`."""

THOUGHT_PHRASES = (r"<\|channel>thought\b|Here(?: i|')s my thought process:", r"<channel\|>|Here(?: i|')s my response:")
"""What opens and closes the thoughts of Gemma 4 and of Granite 3."""

ANSWERS = "answer|final_answer|final|response|output|solution|result"
"""Names of marks around an answer: `<answer>`, `[ANSWER]`, `<|begin_of_box|>`, `<|START_RESPONSE|>`."""

TURNS = (
    (r"<\|im_start\|>(?:system|user|assistant)\b", r"<\|im_start\|>assistant\b"),
    (r"<\|start_header_id\|>", r"<\|start_header_id\|>assistant<\|end_header_id\|>"),
    (r"<\|start_of_role\|>", r"<\|start_of_role\|>assistant<\|end_of_role\|>"),
    (r"<\|(?:system|user|assistant)\|>", r"<\|assistant\|>"),
    (r"<start_of_turn>|<\|turn>", r"(?:<start_of_turn>|<\|turn>)model\b"),
    (r"<｜User｜>|<｜Assistant｜>", r"<｜Assistant｜>"),
    (r"\[INST\]", r"\[/INST\]"),
    (r"### (?:Instruction|Input|Response):", r"### Response:"),
)
"""How a repeated prompt begins in each family of chat templates, and what begins the turn of the model in it."""

FINAL_KEYS = ("final_sql", "final_query", "final_answer")
SQL_KEYS = ("sql", "sqlite", "sql_query", "sqlquery", "query", "answer", "response", "output")
"""Keys of JSON objects that are looked at first: those of FINAL_KEYS, then these, then all others."""


_MOST_ANSWERS = 8  # marked answers that are looked at, from the last one, and JSON objects, from the first
_DEEPEST = 3  # JSON in a string of JSON, as the arguments of a tool call are


def _marks(names: str, special: str) -> tuple[str, str]:
    """Regular expressions of the opening and the closing mark."""
    named = rf"(?:\w{{1,20}}[:_])?(?:{names})"
    bracketed = "think|thinking|thought|thoughts|reasoning|answer|final_answer"  # the others may be names of columns
    bracketed = "|".join(name for name in bracketed.split("|") if name in names.split("|"))
    opening = (
        rf"<{named}(?:\s[^<>\n]{{0,200}})?>|\[(?:{bracketed})\]|◁(?:{names})▷|<\|(?:begin_of_|start_)(?:{special})\|>"
    )
    closing = rf"</{named}\s?>|\[/(?:{bracketed})\]|◁/(?:{names})▷|<\|end_(?:of_)?(?:{special})\|>"
    return opening, closing


_THOUGHT_OPENS, _THOUGHT_CLOSES = (
    f"{marks}|{phrases}"
    for marks, phrases in zip(_marks(THOUGHTS, "thought|thinking"), THOUGHT_PHRASES, strict=True)
)
_ANSWER_OPENS, _ANSWER_CLOSES = _marks(ANSWERS, "box|response|solution|answer")
_THOUGHT_MARK = re.compile(rf"(?P<open>{_THOUGHT_OPENS})|(?P<close>{_THOUGHT_CLOSES})", re.IGNORECASE)
_ANSWER_OPEN, _ANSWER_CLOSE = (re.compile(marks, re.IGNORECASE) for marks in (_ANSWER_OPENS, _ANSWER_CLOSES))
_ENDS_OUTSIDE_STRINGS = re.compile(rf"'[^'\n]*+'|\"[^\"\n]*+\"|(?P<close>{_THOUGHT_CLOSES})", re.IGNORECASE)
_CHANNEL = re.compile(
    r"(?:<\|channel\|>|\A)\s*(?P<name>analysis|commentary|final)\b[^<\n]{0,100}(?:<\|constrain\|>[^<\n]{0,100})?<\|message\|>"
)
_GLUED = re.compile(r"(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'`(\d])")
_GLUED_FINAL = re.compile(r"(?:\A|assistant)final(?=\S)")
_BEGINNING_OF_TEXT = re.compile(
    r"(?:(?:<s>|<bos>|<\|begin_of_text\|>|<\|startoftext\|>|<\|python_tag\|>|<｜begin▁of▁sentence｜>)\s*)+"
)
_TURNS = [(re.compile(begins), re.compile(answers)) for begins, answers in TURNS]
_BOXED = re.compile(r"\\boxed\s*\{")
_TEXT = re.compile(r"\\(?:text|texttt|mathrm|mathtt)\s*\{(.*)\}", re.DOTALL)
_JSON_BEGINS = re.compile(r"[{\[]\s{0,100}[\"{\[]|\A\"")
_JSON_PAIR = re.compile(r'"(?P<key>\w{1,50})"\s{0,10}:\s{0,10}"(?P<string>(?:[^"\\]|\\.)*+)', re.DOTALL)
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")


def without_thoughts(text: str, begins_as_statement: bool) -> str:
    """What stands outside of thoughts, channels and a repeated prompt; empty where a thought never ends."""
    if channels := list(_CHANNEL.finditer(text)):
        return _behind_last(text, [channel for channel in channels if channel["name"] == "final"])
    if _GLUED.match(text) or (not begins_as_statement and "assistantfinal" in text):
        return _behind_last(text, list(_GLUED_FINAL.finditer(text)))
    if begins_as_statement and not any(match["close"] for match in _ENDS_OUTSIDE_STRINGS.finditer(text)):
        return text
    return _outside(_in_turn_of_model(text))


def _behind_last(text: str, finals: list[re.Match[str]]) -> str:
    return text[finals[-1].end() :].strip() if finals else ""


def _in_turn_of_model(text: str) -> str:
    """What stands behind the first mark of the model's turn in a text that repeats the prompt; all of any other."""
    if beginning := _BEGINNING_OF_TEXT.match(text):
        text = text[beginning.end() :]
    for begins, answers in _TURNS:
        if (begin := begins.match(text)) and (answer := answers.search(text)):
            return text[answer.end() :].strip() or text[begin.end() : answer.start()].strip()
    return text


def _outside(text: str) -> str:
    """What stands outside of thoughts. A mark that thoughts mention opens no others within them."""
    parts: list[str] = []
    start, is_open = 0, False
    for mark in _THOUGHT_MARK.finditer(text):
        if mark["close"]:
            parts = parts if is_open else []  # else it was opened in the prompt
            is_open = False
        elif is_open:
            continue
        else:
            parts.append(text[start : mark.start()])
            is_open = True
        start = mark.end()
    return "".join([*parts, "" if is_open else text[start:]]).strip()


def marked_answers(text: str) -> Iterator[str]:
    """What stands between marks of an answer, the last first: of an answer that is cut, what there is of it."""
    for opening in list(_ANSWER_OPEN.finditer(text))[: -_MOST_ANSWERS - 1 : -1]:
        closing = _ANSWER_CLOSE.search(text, opening.end())
        yield text[opening.end() : closing.start() if closing else len(text)].strip()
    for boxed in list(_BOXED.finditer(text))[: -_MOST_ANSWERS - 1 : -1]:
        inside = _in_braces(text, boxed.end())
        yield plain[1].strip() if (plain := _TEXT.fullmatch(inside)) else inside


def _in_braces(text: str, start: int) -> str:
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[start : brace.start()].strip()
    return text[start:].strip()


def json_strings(text: str) -> Iterator[str]:
    """The strings in the JSON that a text holds: of objects, lists, and a text that is one string. Those under
    FINAL_KEYS come first, then those under SQL_KEYS, of outer objects before inner ones, then all others. Of JSON that
    is cut or broken, the strings of its objects."""
    for _, _, string in sorted(_strings_in(text, _DEEPEST), key=_rank):
        yield string.encode("utf-8", "replace").decode()  # JSON can write half a surrogate pair


_Found = tuple[int, str, str]
"""A string in JSON: how deep it lies, the key that it stands under, the string."""


def _rank(found: _Found) -> tuple[int, int, int]:
    depth, key, _ = found
    if key.lower() in FINAL_KEYS:
        return 0, 0, 0
    return (1, depth, SQL_KEYS.index(key.lower())) if key.lower() in SQL_KEYS else (2, depth, 0)


def _strings_in(text: str, deepest: int) -> Iterator[_Found]:
    """Each string in the JSON in `text`; then those in strings that are JSON."""
    strings: list[_Found] = []
    end = 0
    for begin in islice(_JSON_BEGINS.finditer(text), _MOST_ANSWERS):
        if begin.start() < end:
            continue
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text, begin.start())
            strings += list(_strings(0, "", value))
        except (ValueError, RecursionError):
            broken = _JSON_PAIR.finditer(text, begin.start())
            strings += [(0, pair["key"], _unescaped(pair["string"])) for pair in broken]
            break
    yield from strings
    for _, _, string in strings:
        if deepest and string.startswith("{"):
            yield from _strings_in(string, deepest - 1)


def _unescaped(string: str) -> str:
    """What a string of JSON stands for, without its quotation marks; empty where it is none."""
    try:
        return str(json.loads(f'"{_CUT_ESCAPE.sub("", string)}"', strict=False))
    except ValueError:
        return ""


def _strings(depth: int, key: str, value: object) -> Iterator[_Found]:
    """Each string in a JSON value that lies at a depth, under a key."""
    if isinstance(value, str):
        yield depth, key, value
    elif isinstance(value, list):
        for part in value:
            yield from _strings(depth + 1, key, part)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _strings(depth + 1, name, part)
