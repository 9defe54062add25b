"""What an OpenAI-compatible endpoint answers: strict about what is a completion, lenient about all beside it."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from stages.core.redaction import holds_key
from stages.endpoints.refusals import is_error, message_of
from stages.lm.completions import Sample

HOLDS_KEY = "holds_key"
"""Why a sample has no text: the completion repeated the key that the endpoint was asked with."""

_UNKNOWN = -9999.0  # what some endpoints say where they do not know a log-probability
_ENDS = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length",
    "content_filter": "content_filter", "safety": "content_filter", "recitation": "content_filter",
    "prohibited_content": "content_filter", "blocklist": "content_filter", "spii": "content_filter",
    "sensitive": "content_filter", "refusal": "content_filter",
}  # fmt: skip
"""What endpoints call the end of a completion, in lower case, to `finish_reason`; all else is `other`."""

M = TypeVar("M", bound=BaseModel)


class _Scored(BaseModel):
    logprob: float | None


class _Scores(BaseModel):
    content: list[_Scored] | None = None  # of a chat
    token_logprobs: list[float | None] | None = None  # of a completion


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
        """An empty one, too, if it has ended."""
        return not self.error and not (self.text is None and self.message is None and self.finish_reason is None)


class Usage(BaseModel):
    """The tokens that an endpoint counted; None where it does not tell."""

    prompt_tokens: int | None = Field(default=None, ge=0, le=10**12)
    completion_tokens: int | None = Field(default=None, ge=0, le=10**12)


class Answer(BaseModel):
    """An answer with a choice at least."""

    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None

    def tokens(self) -> Usage:
        return _read(Usage, self.usage)


def _read(model: type[M], value: object) -> M:
    """`value` as `model`, which is empty where it is none: a completion is paid for, whatever stands beside it."""
    try:
        return model.model_validate(value)
    except ValidationError:
        return model()


def read_answer(text: str) -> Answer:
    """The answer in what an endpoint sent. Raises ValueError where it is none."""
    try:
        # Half a character, where a token ended within one, is no text that can be kept.
        whole = json.dumps(json.loads(text), ensure_ascii=False).encode("utf-16", "surrogatepass")
        answer = Answer.model_validate_json(whole.decode("utf-16", "replace"))
    except (ValueError, RecursionError):  # RecursionError: brackets, thousands deep
        answer = None
    if answer is None or not all(choice.is_completion() for choice in answer.choices):
        answered = f"an error: {message_of(text)}" if is_error(text) else f"no completion: {text}"
        raise ValueError(f"it answers {answered}" if text.strip() else "it answers nothing")
    return answer


def samples_of(answer: Answer) -> list[Sample]:
    """A sample for each choice."""
    return [_sample(choice, answer) for choice in answer.choices]


def _sample(choice: _Choice, answer: Answer) -> Sample:
    """A choice as a sample. An empty answer is one too. What holds the key is kept without its text, so that it is
    counted and not paid for again."""
    text = _text(choice.message.content if choice.message else choice.text)
    logprobs = _read(_Scores, choice.logprobs)
    scores = [token.logprob for token in logprobs.content] if logprobs.content else logprobs.token_logprobs or []
    known = [score for score in scores if score is not None and score > _UNKNOWN]
    tokens = len(scores) or None
    if tokens is None and len(answer.choices) == 1:
        tokens = answer.tokens().completion_tokens
    reason = _ENDS.get(str(choice.finish_reason).lower().partition(":")[0], "other")
    whole = bool(known) and len(known) == len(scores)
    if not text and choice.message and choice.message.refusal:
        reason = "content_filter"
    if holds_key(text):
        text, reason = "", HOLDS_KEY
    return Sample(text, reason, tokens, round(min(sum(known), 0.0), 6) if whole else None)


def _text(content: str | dict[str, Any] | list[str | dict[str, Any] | None] | None) -> str:
    """A message's content, which may come in parts: those of text, joined; not thoughts, refusals and references."""
    parts = content if isinstance(content, list) else [content]
    return "".join(part if isinstance(part, str) else _text_of_part(part or {}) for part in parts)


def _text_of_part(part: dict[str, Any]) -> str:
    if part.get("type", "text") not in ("text", "output_text") or part.get("thought"):
        return ""
    text = part.get("text")
    text = text.get("value") if isinstance(text, dict) else text
    return text if isinstance(text, str) else ""
