"""What an endpoint says where it gives no samples: its words for a person, and whether they are about one question."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

from stages.core.redaction import redact

REASONS = TOO_LONG, FILTERED, REFUSED, NO_ANSWER = "longer_than_context", "filtered", "refused", "no_answer"
"""Why a question is left out. `refused`: for a reason that is not known; `no_answer`: no try gave a completion."""

_ACCOUNT = (
    r"\b(in)?(valid|correct|missing|expired|revoked|no)\b.{0,30}api[ _-]?key",
    r"api[ _-]?key\b.{0,30}\b(not|invalid|incorrect|missing|expired|revoked|required)\b", r"\byour account\b",
    r"\bbilling\b", r"credit balance", r"purchase credits", r"insufficient[ _](balance|fund)", r"\bquota\b",
    r"unauthori[sz]ed", r"authenticat", r"arrear", "欠费",
)  # fmt: skip
"""Patterns of what is about key or account, though it may sound like a filter, in lower case."""
_ASKED = r"\b(prompt|content|input|output|response|completion|message|question|text|word)s?\b"
_REASONS = {
    TOO_LONG: (
        r"context[ _-]?(length|window|size|limit)", r"(prompt|input|sequence|total)[ _]length",
        r"\b(prompt|inputs?|requests?|messages?|contents?|context|conversation|text|query|body|entity|payload|string|"
        r"tokens?)[ _]?[`']?( is| are| was| has| have)?( been)?[ _]too[ _](long|large|big|many)",
        r"too many( \w+){0,2} tokens", r"token limit", r"longer than", r"string_above_max_length", r"maxlength",
        r"max_new_tokens", r"\bn_ctx\b", r"\bexceed\w*\b.{0,80}\b(tokens?|length|context|window)\b",
        r"\b(tokens?|prompt|inputs?|requests?|messages?|context|content|body)\b.{0,80}\bexceed",
        r"max(imum)?[ _](input|prompt|context|sequence|model|total)?[ _]?(len(gth)?|size|tokens)\b.{0,60}"
        r"\b(prompt|input|messages?|question)", r"\bsupports? .{0,20}\b\d+ (input |prompt )?tokens",
        r"\b(prompt|inputs|tokens)\b.{0,60}\b(at most|no more than|less than|fewer than|maximum|limit of)\b",
        r"\b(at most|no more than|less than|fewer than|maximum( of)?|limit of) \d+ (input |prompt )?(tokens|char)",
        r"reduce (the |your )?(length|size|prompt|input|messages?|number)", r"shorten", "超长", "过长", "长度",
    ),
    FILTERED: (
        r"content[ _-]?(filter|polic|moderat|management|security|violation|block|censor)", r"filtered\b",
        r"\bsafety(?!_identifier)", r"unsafe", r"responsible[ _]?ai", r"content exists risk", r"high[ _-]risk",
        r"risk[ _-]?control", r"\binspection", r"data_?inspection", r"inappropriate", r"harmful",
        r"moderat(ed|ion)", r"(was|is|been|were|are) flagged", r"(usage|use|cyber)[ _]polic", r"polic(y|ies)[ _]violat",
        r"violat\w+ .{0,60}(polic|guideline|terms|rule)", r"(prompt|input|output)_blocked", r"block_?reason",
        r"prohibited[ _](content|use)", r"censor", r"(?<!case[ -])sensitive", r"guardrail", r"invalid_prompt",
        r"jailbreak", r"prompt[ _]injection", r"recitation",
        rf"{_ASKED}.{{0,60}}\b(blocked|prohibited|rejected|refused|denied|illegal|toxic\w*|disallowed|not allowed)\b",
        rf"\b(blocked|rejected|refused|denied|illegal|toxic\w*|offensive|disallowed|explicit)\b.{{0,60}}{_ASKED}",
        "敏感", "违规", "不安全", "违法", "不合规", "风险",
    ),
}  # fmt: skip
"""Reason to patterns of what endpoints say of one question, in lower case; the first reason with one counts."""
_MESSAGES = (
    "error", "message", "detail", "errors", "error_message", "error_msg", "msg", "description", "title", "code",
)  # fmt: skip
"""Under which names JSON holds what an error says to people, the most telling first."""
_TOO_LARGE_FOR_ITS_RATE = r"request too large|must be reduced"  # a limit a minute that no waiting helps with
_BY_STATUS = {413: TOO_LONG, 451: FILTERED}
_ABOUT_ALL = (401, 402, 404, 408, 409)

_READ = 10_000  # characters of what an endpoint says that are looked at
_PARSED = 100_000  # characters of it that are read as JSON: an answer that is an error is no larger
_LEVELS = 10  # of lists and objects in each other that are read
_SHOWN = 300  # characters of it that are shown


def left_out_reason(status: int, text: str) -> str | None:
    """Why the question alone is refused by an answer with this status and text; None where that is not known."""
    words = _all_words(text)
    if status in _ABOUT_ALL or _is_found(_ACCOUNT, words):
        return None
    if status == 429:
        return TOO_LONG if re.search(_TOO_LARGE_FOR_ITS_RATE, words) else None
    return next((reason for reason, marks in _REASONS.items() if _is_found(marks, words)), _BY_STATUS.get(status))


def is_about_the_account(text: str) -> bool:
    """Whether what an endpoint says is about key or account, and so about all questions."""
    return _is_found(_ACCOUNT, _all_words(text))


def _is_found(marks: tuple[str, ...], words: str) -> bool:
    return any(re.search(mark, words) for mark in marks)


def _all_words(text: str) -> str:
    """All that the body of an error says, codes too, in one line of lower case; not the prompt, where it is echoed."""
    words = " ".join(_strings(_parsed(text))) or message_of(text)
    return " ".join(words[:_READ].lower().split())


def _parsed(text: str) -> Any:
    """What JSON of a moderate size holds; None where it is none."""
    try:
        return json.loads(text) if len(text) <= _PARSED else None
    except (ValueError, RecursionError):
        return None


def _strings(body: Any, levels: int = _LEVELS) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    parts = body if isinstance(body, list) else []
    if isinstance(body, dict):
        parts = [part for name, part in body.items() if name not in ("input", "flagged_input", "prompt", "messages")]
    for part in parts if levels else ():
        yield from _strings(part, levels - 1)


def is_error(text: str) -> bool:
    """Whether an answer with status 200 is JSON without choices, which may say why."""
    body = _parsed(text)
    body = body[0] if isinstance(body, list) and body else body
    return isinstance(body, dict) and not body.get("choices")


def message_of(text: str) -> str:
    """The words for a person in the body of an error: JSON of one of the usual forms, HTML, or plain text."""
    message = _message(_parsed(text))
    title = re.search(r"<title[^>]*>([^<]+)</title>", text[:_READ], re.IGNORECASE)
    if not message and title:
        message = html.unescape(title[1])
    if not message and re.match(r"\s*<(!doctype|html|head|body|\?xml|h\d|p|center)\b", text[:_READ], re.IGNORECASE):
        message = html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", text[:_READ])))
    return one_line(message or text)


def one_line(text: str) -> str:
    """What an endpoint says, in one line without secrets, cut where it is long."""
    return " ".join(redact(text[:_READ]).split())[:_SHOWN]


def _message(body: Any, levels: int = _LEVELS) -> str:
    """The message in parsed JSON; empty where it has none of the usual forms."""
    if isinstance(body, str):
        return body
    if not isinstance(body, list | dict) or not levels:
        return ""
    if isinstance(body, list):
        return "; ".join(filter(None, (_message(part, levels - 1) for part in body)))
    if isinstance(place := body.get("loc"), list):  # a mistake that FastAPI found
        return f"{'.'.join(map(str, place))}: {body.get('msg')}"
    message = next((words for name in _MESSAGES if (words := _message(body.get(name), levels - 1))), "")
    metadata = body.get("metadata")  # what a router was told by the provider behind it
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    param = body.get("param")
    if message and isinstance(param, str) and not re.search(rf"(?<!\w){re.escape(param)}(?!\w)", message):
        message += f" (`{param}`)"
    return f"{message}: {raw}" if message and isinstance(raw, str) else message
