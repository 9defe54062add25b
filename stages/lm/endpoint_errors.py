"""What an endpoint says where it gives no samples: its words for a person, and whether they are about one question."""

import html
import json
import re
from typing import Any

from stages.redaction import redact

REASONS = TOO_LONG, FILTERED, REFUSED, NO_ANSWER = "longer_than_context", "filtered", "refused", "no_answer"
"""Why a question is left out. `refused`: for a reason that is not known; `no_answer`: no try gave a completion."""

_ACCOUNT = (
    r"api[ _-]?key", r"\byour account\b", r"\bbilling\b", r"\bcredits?\b(?! card)", r"insufficient[ _](balance|fund)",
    r"\bquota\b", r"unauthori[sz]ed", r"authenticat", r"arrear", "欠费",
)  # fmt: skip
_REASONS = {
    TOO_LONG: (
        r"context[ _-]?(length|window|size|limit)", r"(prompt|input|sequence|total)[ _]length",
        r"(prompt|inputs?|requests?|messages?|contents?|context|text|query|body|entity|payload|string|tokens?)[ _]?"
        r"(`|')?( is| are| was| has| have)?( been)?[ _]too[ _](long|large|big|many)",
        r"too many( \w+){0,2} tokens", r"max_new_tokens", r"token limit", r"\blonger than\b",
        r"string_above_max_length",
        r"\bexceed\w*\b.{0,80}\b(tokens?|length|context|window)\b",
        r"\b(tokens?|prompt|inputs?|requests?|messages?|context|content|body)\b.{0,80}\bexceed",
        r"max(imum)?[ _](input|prompt|context|sequence|model|total)?[ _]?(len(gth)?|size|tokens)\b.{0,60}"
        r"\b(prompt|input|messages?|question)", r"maxlength",
        r"inputs?`? must have (less|fewer) than", r"less than \d+ (input )?tokens",
        r"reduce (the |your )?(length|size|prompt|input|messages?|number)", r"shorten", "超长", "过长", "长度",
    ),
    FILTERED: (
        r"content[ _-]?(filter|polic|moderat|management|safety|security|violation|block|censor)", r"filtered\b",
        r"responsible[ _]?ai", r"content exists risk", r"data_?inspection_?failed", r"inappropriate",
        r"safety[ _](system|filter|setting|reason|polic|check|guideline|guard|block|violation)",
        r"(reason|due to|because of|for|:)\W*(content )?safety\b",
        r"(?<!account )(was|is|been|were|are) flagged", r"moderat(ed|ion)", r"(usage|use|acceptable[ _]use) polic",
        r"polic(y|ies)[ _]violat", r"violat\w+ .{0,60}(polic|guideline|terms|rule)",
        r"(prompt|content|input|output|response|completion|message|question|text)s?\b.{0,60}\bblocked",
        r"\bblocked\b.{0,60}\b(prompt|content|input|output|response|safety)", r"(prompt|input|output)_blocked",
        r"block_?reason", r"prohibited[ _](content|use)", r"(content|prompt|input)\b.{0,60}\bprohibited",
        r"censor", r"(?<!case[ -])sensitive", r"unsafe", r"guardrail",
        r"\bharmful\b", r"high[ _-]risk", r"risk[ _-]?control", r"invalid_prompt", r"jailbreak", r"recitation",
        "敏感", "违规", "不安全", "违法", "不合规", "风险",
    ),
}  # fmt: skip
"""Reason to patterns of what endpoints say, in lower case; the first reason with one that is found."""
_MESSAGES = (
    "error", "message", "detail", "errors", "error_message", "error_msg", "msg", "description", "title", "code",
)  # fmt: skip
"""Under which names JSON holds what an error says to people, the most telling first."""
_TOO_LARGE_FOR_ITS_RATE = r"request too large|must be reduced"  # a limit a minute that no waiting helps with
_BY_STATUS = {413: TOO_LONG, 451: FILTERED}
_ABOUT_ALL = (401, 402, 404, 408, 409)

_READ = 10_000  # characters of what an endpoint says that are looked at
_SHOWN = 300  # characters of it that are shown


def left_out_reason(status: int, text: str) -> str | None:
    """Why the question alone is refused by an answer with this status and text; None where that is not known."""
    words = " ".join((text[:_READ] if text.lstrip()[:1] in ("{", "[") else message_of(text)).lower().split())
    if status in _ABOUT_ALL or _is_found(_ACCOUNT, words):
        return None
    if status == 429:
        return TOO_LONG if re.search(_TOO_LARGE_FOR_ITS_RATE, words) else None
    return next((reason for reason, marks in _REASONS.items() if _is_found(marks, words)), _BY_STATUS.get(status))


def is_about_the_account(text: str) -> bool:
    """Whether what an endpoint says is about key or account, and so about all questions."""
    return _is_found(_ACCOUNT, text[:_READ].lower())


def _is_found(marks: tuple[str, ...], words: str) -> bool:
    return any(re.search(mark, words) for mark in marks)


def error_of(text: str) -> object:
    """What stands under `error` in an answer; None where nothing does."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    body = body[0] if isinstance(body, list) and body else body
    return body.get("error") if isinstance(body, dict) else None


def message_of(text: str) -> str:
    """The words for a person in the body of an error: JSON of one of the usual forms, HTML, or plain text."""
    try:
        found = _message(json.loads(text))
    except (ValueError, RecursionError):
        found = ""
    title = re.search(r"<title[^>]*>([^<]+)</title>", text[:_READ], re.IGNORECASE)
    if not found and title:
        found = html.unescape(title[1])
    if not found and re.match(r"\s*<(!doctype|html|head|body|\?xml|h\d|p|center)\b", text[:_READ], re.IGNORECASE):
        found = html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", text[:_READ])))
    return one_line(found or text)


def one_line(text: str) -> str:
    """What an endpoint says, in one line without secrets, cut where it is long."""
    return " ".join(redact(text[:_READ]).split())[:_SHOWN]


def _message(body: Any) -> str:
    """The message in parsed JSON; empty where it has none of the usual forms."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(filter(None, map(_message, body)))
    if not isinstance(body, dict):
        return ""
    if isinstance(place := body.get("loc"), list):  # a mistake that FastAPI found
        return f"{'.'.join(map(str, place))}: {body.get('msg')}"
    said = next((words for name in _MESSAGES if (words := _message(body.get(name)))), "")
    metadata = body.get("metadata")  # what a router was told by the provider behind it
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    param = body.get("param")
    said += f" (`{param}`)" if said and isinstance(param, str) and param not in said else ""
    return f"{said}: {raw}" if said and isinstance(raw, str) else said
