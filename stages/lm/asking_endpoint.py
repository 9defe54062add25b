"""Asking an OpenAI-compatible endpoint: in line, again where that may help, until all samples are there."""

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from stages.errors import UserError
from stages.lm.samples import Sample

if TYPE_CHECKING:
    from openai import AsyncOpenAI

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each further try, unless the endpoint says how long
_LONGEST = 120.0  # seconds that an endpoint may tell us to wait
_TOO_LONG = ("context_length_exceeded", "context length", "context window", "too many tokens")
_SHOWN = 300  # characters of what an endpoint says


class Line:
    """Lets so many requests through at once, and so many a minute; `counts` what they were."""

    def __init__(self, concurrency: int, per_minute: int, counts: Counter[str]) -> None:
        self.places, self.gap, self.counts = asyncio.Semaphore(concurrency), 60 / per_minute, counts
        self.next = time.monotonic()

    async def turn(self) -> None:
        """Waits until the next request may start."""
        start = self.next = max(self.next, time.monotonic())
        self.next += self.gap
        await asyncio.sleep(start - time.monotonic())


class _Useless(Exception):
    """An answer without a choice."""


async def ask_endpoint(client: "AsyncOpenAI", line: Line, request: dict[str, Any], count: int) -> list[Sample]:
    """`count` samples: what an answer lacks is asked for again, with the seeds that are left. None where the prompt is
    too long. Raises UserError where the endpoint refuses, or goes on failing."""
    made: list[Sample] = []
    while len(made) < count:
        left = {"n": count - len(made), "seed": request["seed"] + len(made)}
        answer = await _answer(client, line, request | left)
        if answer is None:
            return []
        made += [_sample(choice, answer) for choice in answer["choices"]]
    return made[:count]


async def _answer(client: "AsyncOpenAI", line: Line, request: dict[str, Any]) -> dict[str, Any] | None:
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
            if error.status_code not in (408, 409, 429) and error.status_code < 500:
                raise UserError(f"the endpoint refuses to be asked for `{request['model']}` ({told}); {_FIX}") from None
            if pause is not None:
                wait = _told_wait(error.response.headers.get("retry-after"), pause)
        except (APIConnectionError, json.JSONDecodeError, _Useless) as error:
            told = _words(str(error), client.api_key) or type(error).__name__
        if wait is not None:
            line.counts["retries"] += 1
            await asyncio.sleep(wait)
    tries = len(PAUSES) + 1
    raise UserError(f"the endpoint gave no answer in {tries} tries ({told}); run it again: earlier answers are kept")


_FIX = "correct the file in models/endpoints, OPENAI_BASE_URL or OPENAI_API_KEY"


async def _once(client: "AsyncOpenAI", line: Line, request: dict[str, Any]) -> dict[str, Any]:
    path = "/chat/completions" if "messages" in request else "/completions"
    answer = json.loads(await client.post(path, cast_to=str, body=request))
    if not isinstance(answer, dict) or not answer.get("choices"):
        raise _Useless("its answer has no choices")
    usage = answer.get("usage") or {}
    for name in ("prompt_tokens", "completion_tokens"):
        line.counts[name] += usage.get(name) or 0
    return answer


def _told_wait(seconds: str | None, pause: float) -> float:
    """What the header Retry-After asks for, if it is a number of seconds."""
    try:
        return min(max(float(seconds or pause), 0), _LONGEST)
    except ValueError:  # a date
        return pause


def _words(text: str, key: str) -> str:
    """What an endpoint says in one line, without the key, which some repeat."""
    return " ".join(text.replace(key, "…").split())[:_SHOWN]


def _sample(choice: dict[str, Any], answer: dict[str, Any]) -> Sample:
    """A choice as a sample. An empty answer is one too; a reason to end that is no API's counts as `other`."""
    text = choice["message"].get("content") if "message" in choice else choice.get("text")
    reason = choice.get("finish_reason")
    scores = _logprobs(choice.get("logprobs") or {})
    tokens = len(scores) if scores else None
    if tokens is None and len(answer["choices"]) == 1:
        tokens = (answer.get("usage") or {}).get("completion_tokens")
    known = reason if reason in ("stop", "length", "content_filter") else "other"
    return Sample(text or "", known, tokens, round(sum(scores), 6) if scores else None)


def _logprobs(told: dict[str, Any]) -> list[float]:
    if told.get("content"):
        return [token["logprob"] for token in told["content"]]
    return [score for score in told.get("token_logprobs") or [] if score is not None]
