"""Asking an OpenAI-compatible endpoint: in line, again where that may help, until all samples are there."""

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from stages.errors import UserError
from stages.lm.samples import Sample

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each further try, unless the endpoint says how long
_LONGEST = 120.0  # seconds that an endpoint may tell us to wait
_TOO_LONG = (
    "context_length_exceeded", "context length", "context window", "context size", "too many tokens",
    "prompt is too long", "max_new_tokens",
)  # fmt: skip
_UNKNOWN = -9999.0  # what some endpoints say where they do not know a log-probability
_SHOWN = 300  # characters of what an endpoint says
_FIX = "correct the file in models/endpoints, OPENAI_BASE_URL, OPENAI_API_KEY or the account"


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


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class Line:
    """Lets so many requests through at once, and so many a minute; `counts` what they were. `next`: when the next one
    may start."""

    def __init__(self, concurrency: int, per_minute: int, counts: Counter[str], next_start: float) -> None:
        self.places, self.gap, self.counts = asyncio.Semaphore(concurrency), 60 / per_minute, counts
        self.next = next_start

    async def turn(self) -> None:
        """Waits until the next request may start."""
        start = max(self.next, time.monotonic())
        self.next = start + self.gap
        await asyncio.sleep(start - time.monotonic())

    def hold(self, seconds: float) -> None:
        """No request starts for so long."""
        self.next = max(self.next, time.monotonic() + seconds)


async def ask_endpoint(client: "AsyncOpenAI", line: Line, request: dict[str, Any], count: int) -> list[Sample]:
    """`count` samples: what an answer lacks is asked for again, with the seeds that are left. None where the prompt is
    too long. Raises UserError where the endpoint refuses, or goes on failing."""
    made: list[Sample] = []
    while len(made) < count:
        left = {"n": count - len(made), "seed": request["seed"] + len(made)}
        answer = await _answer(client, line, request | left)
        if answer is None:
            return []
        made += [_sample(choice, answer) for choice in answer.choices]
    return made[:count]


async def _answer(client: "AsyncOpenAI", line: Line, request: dict[str, Any]) -> _Answer | None:
    """The endpoint's answer, with a choice at least; None where the prompt is too long."""
    from openai import APIConnectionError, APIStatusError

    told = ""
    for pause in (*PAUSES, None):
        wait = pause
        try:
            async with line.places:
                await line.turn()
                line.counts["requests"] += 1
                return await _once(client, line, request)
        except APIStatusError as error:
            told = f"it answers {error.status_code}: {_words(error.message, client.api_key)}"
            if error.status_code in (400, 413, 422) and any(words in error.message.lower() for words in _TOO_LONG):
                return None
            if _refuses(error):
                raise UserError(f"the endpoint refuses to be asked for `{request['model']}` ({told}); {_FIX}") from None
            if pause is not None:
                wait = _told_wait(error.response.headers.get("retry-after"), pause)
                if error.status_code == 429:
                    line.hold(wait)
        except APIConnectionError as error:
            reason = str(error.__cause__ or "") or type(error.__cause__ or error).__name__
            told = f"no answer: {_words(reason, client.api_key)}"
        except ValueError as error:
            told = _words(str(error), client.api_key)
        if wait is not None:
            line.counts["retries"] += 1
            await asyncio.sleep(wait)
    tries = len(PAUSES) + 1
    raise UserError(f"the endpoint gave no answer in {tries} tries ({told}); run it again: earlier answers are kept")


async def _once(client: "AsyncOpenAI", line: Line, request: dict[str, Any]) -> _Answer:
    """One request. Raises ValueError where the answer is none."""
    path = "/chat/completions" if "messages" in request else "/completions"
    text = await client.post(path, cast_to=str, body=request)
    try:
        # Half a character, where a token ended within one, is no text that can be kept.
        whole = json.dumps(json.loads(text), ensure_ascii=False).encode("utf-16", "surrogatepass")
        answer = _Answer.model_validate_json(whole.decode("utf-16", "replace"))
    except (json.JSONDecodeError, ValidationError):
        answer = None
    if answer is None or any(choice.text is None and choice.message is None for choice in answer.choices):
        raise ValueError(f"it answers no completion: {text}" if text.strip() else "it answers nothing")
    usage = answer.usage or _Usage()
    line.counts["prompt_tokens"] += usage.prompt_tokens
    line.counts["completion_tokens"] += usage.completion_tokens or 0
    return answer


def _refuses(error: "APIStatusError") -> bool:
    """Whether asking again cannot help: a client's mistake, or an account without money."""
    passing = error.status_code in (408, 409, 429) or error.status_code >= 500
    return not passing or error.code == "insufficient_quota"


def _told_wait(seconds: str | None, pause: float) -> float:
    """What the header Retry-After asks for, if it is a number of seconds."""
    try:
        return min(max(float(seconds or pause), 0), _LONGEST)
    except ValueError:  # a date
        return pause


def _words(text: str, key: str) -> str:
    """What an endpoint says in one line, without the key, which some repeat."""
    return " ".join(text.replace(key, "…").split())[:_SHOWN]


def _sample(choice: _Choice, answer: _Answer) -> Sample:
    """A choice as a sample. An empty answer is one too; a reason to end that is no API's counts as `other`."""
    text = choice.message.content if choice.message else choice.text
    told = choice.logprobs or _Scores()
    scores = [token.logprob for token in told.content] if told.content else told.token_logprobs or []
    known = [score for score in scores if score is not None and score > _UNKNOWN]
    tokens = len(scores) or None
    if tokens is None and len(answer.choices) == 1 and answer.usage:
        tokens = answer.usage.completion_tokens
    reason = choice.finish_reason if choice.finish_reason in ("stop", "length", "content_filter") else "other"
    whole = bool(known) and len(known) == len(scores)
    return Sample(text or "", reason, tokens, round(min(sum(known), 0.0), 6) if whole else None)
