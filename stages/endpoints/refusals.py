"""Reads the errors of endpoints: the message for people, and whether it is about one question or about all."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

from stages.core.redaction import redact

REASONS = TOO_LONG, FILTERED, REFUSED, NO_ANSWER = "longer_than_context", "filtered", "refused", "no_answer"
"""Why a question is left out. `refused`: for an unknown reason; `no_answer`: no try gave a completion."""

_ACCOUNT = (
    r"\b(in)?(valid|correct|missing|expired|revoked|no)\b.{0,30}api[ _-]?key",
    r"api[ _-]?key\b.{0,30}\b(not|invalid|incorrect|missing|expired|revoked|required)\b", r"\byour account\b",
    r"\bbilling\b", r"credit balance", r"purchase credits", r"insufficient[ _](balance|fund)", r"\bquota\b",
    r"unauthori[sz]ed", r"authenticat", r"arrear", "欠费",
)  # fmt: skip
"""Lower-case patterns of messages about the key or the account, which may also match those of a filter."""
_CONTENT = r"\b(prompt|content|input|output|response|completion|message|question|text|word)s?\b"
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
        rf"{_CONTENT}.{{0,60}}\b(blocked|prohibited|rejected|refused|denied|illegal|toxic\w*|disallowed|not allowed)\b",
        rf"\b(blocked|rejected|refused|denied|illegal|toxic\w*|offensive|disallowed|explicit)\b.{{0,60}}{_CONTENT}",
        "敏感", "违规", "不安全", "违法", "不合规", "风险",
    ),
}  # fmt: skip
"""Reason to lower-case patterns of messages about one question; the first reason with a match counts."""
_MESSAGE_KEYS = (
    "error", "message", "detail", "errors", "error_message", "error_msg", "msg", "description", "title", "code",
)  # fmt: skip
"""The JSON keys that hold the message of an error, the most informative first."""
_EXCEEDS_RATE_ALONE = r"request too large|must be reduced"  # more tokens than the limit a minute: waiting is in vain
_REASON_OF_STATUS = {413: TOO_LONG, 451: FILTERED}
_STATUSES_ABOUT_ALL = (401, 402, 404, 408, 409)

_MAX_SEARCHED = 10_000  # characters of a body that are searched
_MAX_PARSED = 100_000  # characters of a body that is parsed as JSON: no error is larger
_MAX_DEPTH = 10  # of nested lists and objects
_MAX_SHOWN = 300  # characters of a message that are shown


def left_out_reason(status: int, text: str) -> str | None:
    """Why an endpoint refuses one question with this status and body; None if the reason is unknown or about all."""
    words = _all_words(text)
    if status in _STATUSES_ABOUT_ALL or _matches(_ACCOUNT, words):
        return None
    if status == 429:
        return TOO_LONG if re.search(_EXCEEDS_RATE_ALONE, words) else None
    reasons = (reason for reason, patterns in _REASONS.items() if _matches(patterns, words))
    return next(reasons, _REASON_OF_STATUS.get(status))


def is_about_account(text: str) -> bool:
    """Whether an error is about the key or the account, and so about all questions."""
    return _matches(_ACCOUNT, _all_words(text))


def is_error(text: str) -> bool:
    """Whether the body of a response with status 200 is JSON without choices, which may hold an error."""
    body = _parse(text)
    body = body[0] if isinstance(body, list) and body else body
    return isinstance(body, dict) and not body.get("choices")


def message_of(text: str) -> str:
    """The message for people in the body of an error: JSON of a usual form, HTML, or plain text."""
    message = _message(_parse(text))
    start = text[:_MAX_SEARCHED]
    title = re.search(r"<title[^>]*>([^<]+)</title>", start, re.IGNORECASE)
    if not message and title:
        message = html.unescape(title[1])
    if not message and re.match(r"\s*<(!doctype|html|head|body|\?xml|h\d|p|center)\b", start, re.IGNORECASE):
        message = html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", start)))
    return one_line(message or text)


def one_line(text: str) -> str:
    """The text in one line, without secrets, cut if it is long."""
    return " ".join(redact(text[:_MAX_SEARCHED]).split())[:_MAX_SHOWN]


def _matches(patterns: tuple[str, ...], words: str) -> bool:
    return any(re.search(pattern, words) for pattern in patterns)


def _all_words(text: str) -> str:
    """All strings in the body of an error, in one line and lower case, without the prompt if it is echoed."""
    words = " ".join(_strings(_parse(text))) or message_of(text)
    return " ".join(words[:_MAX_SEARCHED].lower().split())


def _parse(text: str) -> Any:
    """The value of a JSON text of moderate size; None if it is not JSON."""
    try:
        return json.loads(text) if len(text) <= _MAX_PARSED else None
    except (ValueError, RecursionError):
        return None


def _strings(body: Any, depth: int = _MAX_DEPTH) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    parts = body if isinstance(body, list) else []
    if isinstance(body, dict):
        parts = [part for key, part in body.items() if key not in ("input", "flagged_input", "prompt", "messages")]
    for part in parts if depth else ():
        yield from _strings(part, depth - 1)


def _message(body: Any, depth: int = _MAX_DEPTH) -> str:
    """The message in parsed JSON; empty if it has no usual form."""
    if isinstance(body, str):
        return body
    if not isinstance(body, list | dict) or not depth:
        return ""
    if isinstance(body, list):
        return "; ".join(filter(None, (_message(part, depth - 1) for part in body)))
    if isinstance(location := body.get("loc"), list):  # a validation error of FastAPI
        return f"{'.'.join(map(str, location))}: {body.get('msg')}"
    message = next((text for key in _MESSAGE_KEYS if (text := _message(body.get(key), depth - 1))), "")
    metadata = body.get("metadata")  # a router passes on the error of the provider behind it
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    param = body.get("param")
    if message and isinstance(param, str) and not re.search(rf"(?<!\w){re.escape(param)}(?!\w)", message):
        message += f" (`{param}`)"
    return f"{message}: {raw}" if message and isinstance(raw, str) else message
