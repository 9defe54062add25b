"""What an OpenAI-compatible endpoint answers, read strictly where samples come from, and not where they do not."""

import json

from pydantic import BaseModel, Field, ValidationError

from stages.lm.samples import Sample
from stages.redaction import holds_key

HOLDS_KEY = "holds_key"
"""Why a sample has no text: the completion repeated the key that the endpoint was asked with."""

_UNKNOWN = -9999.0  # what some endpoints say where they do not know a log-probability


class _Scored(BaseModel):
    logprob: float | None


class _Scores(BaseModel):
    content: list[_Scored] | None = None  # of a chat
    token_logprobs: list[float | None] | None = None  # of a completion


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    text: str | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    logprobs: _Scores | None = None


class Usage(BaseModel):
    """The tokens that an endpoint counted."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)


class Answer(BaseModel):
    """An answer with a choice at least."""

    choices: list[_Choice] = Field(min_length=1)
    usage: Usage | None = None


def read_answer(text: str) -> Answer:
    """The answer in what an endpoint sent. Raises ValueError where it is none."""
    try:
        # Half a character, where a token ended within one, is no text that can be kept.
        whole = json.dumps(json.loads(text), ensure_ascii=False).encode("utf-16", "surrogatepass")
        answer = Answer.model_validate_json(whole.decode("utf-16", "replace"))
    except (json.JSONDecodeError, RecursionError, ValidationError):  # RecursionError: brackets, thousands deep
        answer = None
    if answer is None or any(choice.text is None and choice.message is None for choice in answer.choices):
        raise ValueError(f"it answers no completion: {text}" if text.strip() else "it answers nothing")
    return answer


def samples_of(answer: Answer) -> list[Sample]:
    """A sample for each choice."""
    return [_sample(choice, answer) for choice in answer.choices]


def _sample(choice: _Choice, answer: Answer) -> Sample:
    """A choice as a sample. An empty answer is one too; a reason to end that is no API's counts as `other`. What holds
    the key is kept without its text, so that it is counted and not paid for again."""
    text = choice.message.content if choice.message else choice.text
    told = choice.logprobs or _Scores()
    scores = [token.logprob for token in told.content] if told.content else told.token_logprobs or []
    known = [score for score in scores if score is not None and score > _UNKNOWN]
    tokens = len(scores) or None
    if tokens is None and len(answer.choices) == 1 and answer.usage:
        tokens = answer.usage.completion_tokens
    reason = choice.finish_reason if choice.finish_reason in ("stop", "length", "content_filter") else "other"
    whole = bool(known) and len(known) == len(scores)
    if holds_key(text or ""):
        text, reason = "", HOLDS_KEY
    return Sample(text or "", reason, tokens, round(min(sum(known), 0.0), 6) if whole else None)
