"""Asking an OpenAI-compatible endpoint: in line, again where that may help, until all samples are there."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stages.errors import UserError
from stages.lm.endpoint_answers import Answer, Usage, read_answer, samples_of
from stages.lm.samples import Sample
from stages.redaction import redact

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each further try, unless the endpoint says how long
GRACE = 60.0  # seconds for answers that are under way when the run has to stop: they are paid for
_LONGEST = 120.0  # seconds that an endpoint may tell us to wait
_TOO_LONG = (
    "context_length_exceeded", "context length", "context window", "context size", "too many tokens",
    "prompt is too long", "max_new_tokens",
)  # fmt: skip
_SHOWN = 300  # characters of what an endpoint says
_READ = 10_000  # characters of it that are looked at
_FIX = "correct the file in models/endpoints, OPENAI_BASE_URL, OPENAI_API_KEY or the account"


class Line:
    """Lets so many requests through at once, and so many a minute; `counts` what they were. `next`: when the next one
    may start; `closed`: none starts any more."""

    def __init__(self, concurrency: int, per_minute: int, counts: Counter[str], next_start: float) -> None:
        self.places, self.gap, self.counts = asyncio.Semaphore(concurrency), 60 / per_minute, counts
        self.next, self.closed = next_start, asyncio.Event()

    async def turn(self) -> None:
        """Waits until the next request may start."""
        start = max(self.next, time.monotonic())
        self.next = start + self.gap
        await self.pause(start - time.monotonic())

    async def pause(self, seconds: float) -> None:
        """Waits so long, or until the line is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closed.wait()

    def hold(self, seconds: float) -> None:
        """No request starts for so long."""
        self.next = max(self.next, time.monotonic() + seconds)


async def all_of(line: Line, jobs: Sequence[asyncio.Task[None]]) -> None:
    """Waits for all jobs. Once one raises, no request starts, those under way may end, and it is raised again."""
    try:
        await asyncio.wait(jobs, return_when=asyncio.FIRST_EXCEPTION)
        line.closed.set()
        await asyncio.wait(jobs, timeout=GRACE)
    finally:
        for job in jobs:
            job.cancel()
        ended = await asyncio.gather(*jobs, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def ask_endpoint(
    client: "AsyncOpenAI", line: Line, request: dict[str, Any], count: int, keep: Callable[[list[Sample]], None]
) -> None:
    """Gives `keep` so many samples, as they come: what an answer lacks is asked for again, with the seeds that are
    left. None where the prompt is too long. Raises UserError where the endpoint refuses, or goes on failing."""
    there = 0
    while there < count:
        left = {"n": count - there, "seed": request["seed"] + there}
        answer = await _answer(client, line, request | left)
        if answer is None:
            return
        samples = samples_of(answer)[: count - there]
        keep(samples)
        there += len(samples)


async def _answer(client: "AsyncOpenAI", line: Line, request: dict[str, Any]) -> Answer | None:
    """The endpoint's answer; None where the prompt is too long, or the line closed."""
    from openai import APIConnectionError, APIStatusError

    told = ""
    for pause in (*PAUSES, None):
        wait = pause
        try:
            async with line.places:
                await line.turn()
                if line.closed.is_set():
                    return None
                line.counts["requests"] += 1
                return await _once(client, line, request)
        except APIStatusError as error:
            told = f"it answers {error.status_code}: {_words(error.message)}"
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
            told = f"no answer: {_words(reason)}"
        except ValueError as error:
            told = _words(str(error))
        if wait is not None:
            line.counts["retries"] += 1
            await line.pause(wait)
    tries = len(PAUSES) + 1
    raise UserError(f"the endpoint gave no answer in {tries} tries ({told}); run it again: earlier answers are kept")


async def _once(client: "AsyncOpenAI", line: Line, request: dict[str, Any]) -> Answer:
    """One request. Raises ValueError where the answer is none."""
    path = "/chat/completions" if "messages" in request else "/completions"
    answer = read_answer(await client.post(path, cast_to=str, body=request))
    usage = answer.usage or Usage()
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


def _words(text: str) -> str:
    """What an endpoint says, in one line without secrets."""
    return " ".join(redact(text[:_READ]).split())[:_SHOWN]
