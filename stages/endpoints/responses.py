"""Parses the responses of OpenAI-compatible endpoints: strict about completions, lenient about everything else."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from stages.core.redaction import holds_key
from stages.endpoints.refusals import is_error, message_of
from stages.lm.completions import Completion

HOLDS_KEY = "holds_key"
"""The `finish_reason` of a completion whose text was dropped because it repeated the API key."""

_UNKNOWN = -9999.0  # some endpoints send this for an unknown log-probability
_FINISH_REASONS = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length",
    "content_filter": "content_filter", "safety": "content_filter", "recitation": "content_filter",
    "prohibited_content": "content_filter", "blocklist": "content_filter", "spii": "content_filter",
    "sensitive": "content_filter", "refusal": "content_filter",
}  # fmt: skip
"""The finish reasons of endpoints, in lower case, to ours; any other becomes `other`."""

M = TypeVar("M", bound=BaseModel)


class _TokenScore(BaseModel):
    logprob: float | None


class _Logprobs(BaseModel):
    content: list[_TokenScore] | None = None  # of a chat completion
    token_logprobs: list[float | None] | None = None  # of a text completion

    def per_token(self) -> list[float | None]:
        return [token.logprob for token in self.content] if self.content else self.token_logprobs or []


class _Message(BaseModel):
    content: str | dict[str, Any] | list[str | dict[str, Any] | None] | None = None
    refusal: Any = None


class _Choice(BaseModel):
    text: str | None = None
    message: _Message | None = None
    finish_reason: Any = None
    logprobs: Any = None
    error: Any = None  # in place of the completion

    def is_completion(self) -> bool:
        """Includes an empty completion, if it has ended."""
        return not self.error and not (self.text is None and self.message is None and self.finish_reason is None)


class Usage(BaseModel):
    """The tokens that an endpoint counted; None if it does not report them."""

    prompt_tokens: int | None = Field(default=None, ge=0, le=10**12)
    completion_tokens: int | None = Field(default=None, ge=0, le=10**12)


class Response(BaseModel):
    """A response with at least one choice."""

    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None

    def token_usage(self) -> Usage:
        return _validate_or_empty(Usage, self.usage)


def _validate_or_empty(model: type[M], value: object) -> M:
    """`value` as `model`, which is empty if it is invalid: no field beside a completion may lose it, it is paid for."""
    try:
        return model.model_validate(value)
    except ValidationError:
        return model()


def parse_response(text: str) -> Response:
    """Parses the body of a response. Raises ValueError if it holds no completion."""
    try:
        # A token may end within a character: half a surrogate pair cannot be stored, so it is replaced.
        valid = json.dumps(json.loads(text), ensure_ascii=False).encode("utf-16", "surrogatepass")
        response = Response.model_validate_json(valid.decode("utf-16", "replace"))
    except (ValueError, RecursionError):  # RecursionError: thousands of nested brackets
        response = None
    if response is None or not all(choice.is_completion() for choice in response.choices):
        problem = f"an error: {message_of(text)}" if is_error(text) else f"no completion: {text}"
        raise ValueError(f"it answers {problem}" if text.strip() else "it answers nothing")
    return response


def completions_of(response: Response) -> list[Completion]:
    """One completion for each choice; an empty text is one too."""
    return [_completion(choice, response) for choice in response.choices]


def _completion(choice: _Choice, response: Response) -> Completion:
    """A completion that repeats the API key is kept without its text, so that it is counted and not paid for again."""
    text = _text(choice.message.content if choice.message else choice.text)
    logprobs = _validate_or_empty(_Logprobs, choice.logprobs).per_token()
    known = [logprob for logprob in logprobs if logprob is not None and logprob > _UNKNOWN]
    tokens = len(logprobs) or None
    if tokens is None and len(response.choices) == 1:
        tokens = response.token_usage().completion_tokens
    finish_reason = _FINISH_REASONS.get(str(choice.finish_reason).lower().partition(":")[0], "other")
    all_known = bool(known) and len(known) == len(logprobs)
    if not text and choice.message and choice.message.refusal:
        finish_reason = "content_filter"
    if holds_key(text):
        text, finish_reason = "", HOLDS_KEY
    return Completion(text, finish_reason, tokens, round(min(sum(known), 0.0), 6) if all_known else None)


def _text(content: str | dict[str, Any] | list[str | dict[str, Any] | None] | None) -> str:
    """The text of a message's content, which may be a list of parts: no thoughts, refusals or references."""
    parts = content if isinstance(content, list) else [content]
    return "".join(part if isinstance(part, str) else _text_of_part(part or {}) for part in parts)


def _text_of_part(part: dict[str, Any]) -> str:
    if part.get("type", "text") not in ("text", "output_text") or part.get("thought"):
        return ""
    text = part.get("text")
    text = text.get("value") if isinstance(text, dict) else text
    return text if isinstance(text, str) else ""
