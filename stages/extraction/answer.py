r"""Finds the answer in a completion: removes reasoning, channels and a repeated prompt, and finds marked answers.

1. A byte order mark at the beginning is removed.
2. For a model that writes into channels (gpt-oss), the last `final` channel is the answer, with or without the special
   tokens between the channels. Without such a channel there is no answer.
3. If the prompt is repeated, the answer is the text after the first mark of the model's turn (TURNS).
4. Reasoning is removed: the text between the tags of REASONING, in any case, with or without a prefix (`<mm:think>`).
   An unclosed tag hides the rest of the text. A closing tag alone hides the text before it, because the opening tag may
   be in the prompt. A text that begins with a statement is kept whole, unless reasoning ends in it.
5. The text between the tags of ANSWERS, in `\boxed{…}` or in a JSON string is the answer if it has a statement
   (`stages.extraction.extract` decides that).
"""

import json
import re
from collections.abc import Iterator
from itertools import islice

REASONING = "think|thinking|thought|thoughts|reasoning|reason|analysis|reflection|scratch_?pad|inner_monologue"
"""Names of tags around reasoning: `<think>`, `[THINK]`, `◁think▷`, `<|begin_of_thought|>`, `<|START_THINKING|>`."""

REASONING_PHRASES = (
    r"<\|channel>thought\b|Here(?: i|')s my thought process:", r"<channel\|>|Here(?: i|')s my response:",
)  # fmt: skip
"""Opens and closes the reasoning of Gemma 4 and of Granite 3."""

ANSWERS = "answer|final_answer|final|response|output|solution|result"
"""Names of tags around an answer: `<answer>`, `[ANSWER]`, `<|begin_of_box|>`, `<|START_RESPONSE|>`."""

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
"""For each family of chat templates: the beginning of a prompt, and the beginning of the model's turn."""

FINAL_KEYS = ("final_sql", "final_query", "final_answer")
SQL_KEYS = ("sql", "sqlite", "sql_query", "sqlquery", "query", "answer", "response", "output")
"""Keys of JSON objects are searched in this order: FINAL_KEYS, SQL_KEYS, all others."""

_MAX_ANSWERS = 8  # tagged answers that are searched, from the last, and JSON objects, from the first
_MAX_NESTED_JSON = 3  # levels of JSON in JSON strings, such as the arguments of a tool call


def _tags(names: str, special: str) -> tuple[str, str]:
    """Returns the regular expressions of opening and closing tags. `special`: names used in special tokens."""
    named = rf"(?:\w{{1,20}}[:_])?(?:{names})"
    bracketed = "think|thinking|thought|thoughts|reasoning|answer|final_answer"  # other names may be columns
    bracketed = "|".join(name for name in bracketed.split("|") if name in names.split("|"))
    opening = (
        rf"<{named}(?:\s[^<>\n]{{0,200}})?>|\[(?:{bracketed})\]|◁(?:{names})▷|<\|(?:begin_of_|start_)(?:{special})\|>"
    )
    closing = rf"</{named}\s?>|\[/(?:{bracketed})\]|◁/(?:{names})▷|<\|end_(?:of_)?(?:{special})\|>"
    return opening, closing


_REASONING_OPENS, _REASONING_CLOSES = (
    f"{tags}|{phrases}"
    for tags, phrases in zip(_tags(REASONING, "thought|thinking"), REASONING_PHRASES, strict=True)
)
_REASONING_TAG = re.compile(rf"(?P<open>{_REASONING_OPENS})|(?P<close>{_REASONING_CLOSES})", re.IGNORECASE)
_ANSWER_OPEN, _ANSWER_CLOSE = (
    re.compile(tags, re.IGNORECASE) for tags in _tags(ANSWERS, "box|response|solution|answer")
)
_CLOSE_OUTSIDE_STRINGS = re.compile(rf"'[^'\n]*+'|\"[^\"\n]*+\"|(?P<close>{_REASONING_CLOSES})", re.IGNORECASE)
_CHANNEL = re.compile(
    r"(?:<\|channel\|>|\A)\s*(?P<name>analysis|commentary|final)\b[^<\n]{0,100}(?:<\|constrain\|>[^<\n]{0,100})?<\|message\|>"
)
_CHANNELS_WITHOUT_TOKENS = re.compile(r"(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'`(\d])")
_FINAL_WITHOUT_TOKENS = re.compile(r"(?:\A|assistant)final(?=\S)")
_BEGINNING_OF_TEXT = re.compile(
    r"(?:(?:<s>|<bos>|<\|begin_of_text\|>|<\|startoftext\|>|<\|python_tag\|>|<｜begin▁of▁sentence｜>)\s*)+"
)
_TURNS = [(re.compile(begins), re.compile(answers)) for begins, answers in TURNS]
_BOXED = re.compile(r"\\boxed\s*\{")
_TEXT = re.compile(r"\\(?:text|texttt|mathrm|mathtt)\s*\{(.*)\}", re.DOTALL)
_JSON_BEGINS = re.compile(r"[{\[]\s{0,100}[\"{\[]|\A\"")
_JSON_PAIR = re.compile(r'"(?P<key>\w{1,50})"\s{0,10}:\s{0,10}"(?P<string>(?:[^"\\]|\\.)*+)', re.DOTALL)
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")


def strip_reasoning(text: str, begins_as_statement: bool) -> str:
    """Removes reasoning, channels and a repeated prompt. Returns "" if the reasoning never ends."""
    if channels := list(_CHANNEL.finditer(text)):
        return _after_last(text, [channel for channel in channels if channel["name"] == "final"])
    if _CHANNELS_WITHOUT_TOKENS.match(text) or (not begins_as_statement and "assistantfinal" in text):
        return _after_last(text, list(_FINAL_WITHOUT_TOKENS.finditer(text)))
    if begins_as_statement and not any(match["close"] for match in _CLOSE_OUTSIDE_STRINGS.finditer(text)):
        return text
    return _outside_reasoning(_model_turn(text))


def _after_last(text: str, matches: list[re.Match[str]]) -> str:
    return text[matches[-1].end() :].strip() if matches else ""


def _model_turn(text: str) -> str:
    """Returns the text after the first mark of the model's turn if the text repeats the prompt, else the whole text."""
    if beginning := _BEGINNING_OF_TEXT.match(text):
        text = text[beginning.end() :]
    for begins, answers in _TURNS:
        if (begin := begins.match(text)) and (answer := answers.search(text)):
            return text[answer.end() :].strip() or text[begin.end() : answer.start()].strip()
    return text


def _outside_reasoning(text: str) -> str:
    """Removes reasoning. An opening tag inside reasoning is ignored."""
    parts: list[str] = []
    start, is_open = 0, False
    for tag in _REASONING_TAG.finditer(text):
        if tag["close"]:
            parts = parts if is_open else []  # if it is not open, the opening tag was in the prompt
            is_open = False
        elif is_open:
            continue
        else:
            parts.append(text[start : tag.start()])
            is_open = True
        start = tag.end()
    return "".join([*parts, "" if is_open else text[start:]]).strip()


def tagged_answers(text: str) -> Iterator[str]:
    """Yields the texts between answer tags, the last first, then those in `\\boxed{…}`. A truncated one counts too."""
    for opening in list(_ANSWER_OPEN.finditer(text))[: -_MAX_ANSWERS - 1 : -1]:
        closing = _ANSWER_CLOSE.search(text, opening.end())
        yield text[opening.end() : closing.start() if closing else len(text)].strip()
    for boxed in list(_BOXED.finditer(text))[: -_MAX_ANSWERS - 1 : -1]:
        content = _until_closing_brace(text, boxed.end())
        yield plain[1].strip() if (plain := _TEXT.fullmatch(content)) else content


def _until_closing_brace(text: str, start: int) -> str:
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[start : brace.start()].strip()
    return text[start:].strip()


def json_strings(text: str) -> Iterator[str]:
    """Yields the strings in the JSON in a text: those of objects and lists, or a text that is one JSON string. Strings
    under FINAL_KEYS come first, then those under SQL_KEYS, of outer objects before inner ones, then all others. Of
    truncated or broken JSON, the strings of its objects are yielded."""
    for *_, string in sorted(_strings_in(text, _MAX_NESTED_JSON), key=_rank):
        yield string.encode("utf-8", "replace").decode()  # JSON can write half a surrogate pair


def _rank(item: tuple[int, str, str]) -> tuple[int, int, int]:
    depth, key = item[0], item[1].lower()
    if key in FINAL_KEYS:
        return 0, 0, 0
    return (1, depth, SQL_KEYS.index(key)) if key in SQL_KEYS else (2, depth, 0)


def _strings_in(text: str, nested_levels: int) -> Iterator[tuple[int, str, str]]:
    """Yields depth, key ("" for none) and text of each string in JSON, then of those in strings that are JSON."""
    strings: list[tuple[int, str, str]] = []
    end = 0
    for begin in islice(_JSON_BEGINS.finditer(text), _MAX_ANSWERS):
        if begin.start() < end:
            continue
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text, begin.start())
            strings += list(_strings(0, "", value))
        except (ValueError, RecursionError):
            pairs = _JSON_PAIR.finditer(text, begin.start())
            strings += [(0, pair["key"], _unescape(pair["string"])) for pair in pairs]
            break
    yield from strings
    for *_, string in strings:
        if nested_levels and string.startswith("{"):
            yield from _strings_in(string, nested_levels - 1)


def _unescape(string: str) -> str:
    """Decodes a JSON string without its quotation marks. Returns "" if it is invalid."""
    try:
        return str(json.loads(f'"{_CUT_ESCAPE.sub("", string)}"', strict=False))
    except ValueError:
        return ""


def _strings(depth: int, key: str, value: object) -> Iterator[tuple[int, str, str]]:
    if isinstance(value, str):
        yield depth, key, value
    elif isinstance(value, list):
        for part in value:
            yield from _strings(depth + 1, key, part)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _strings(depth + 1, name, part)
