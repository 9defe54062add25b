"""Asking an OpenAI-compatible endpoint: in line, again where that may help, until all samples are there."""

import asyncio
import math
import sys
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from stages.core.display import show
from stages.core.errors import UserError
from stages.endpoints.refusals import (
    FILTERED,
    NO_ANSWER,
    REFUSED,
    is_about_the_account,
    is_error,
    left_out_reason,
    message_of,
    one_line,
)  # fmt: skip
from stages.endpoints.request_form import Form
from stages.endpoints.request_line import Line
from stages.endpoints.responses import Answer, read_answer, samples_of
from stages.lm.completions import Sample

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each further try, unless the endpoint says how long
_LONGEST = 120.0  # seconds that an endpoint may tell us to wait
LONGEST_ANSWER = 1200.0  # seconds from a request to the end of its answer
_UNPROVEN, _PROVEN = 3, 10  # questions in a row without samples that end a run: before any was answered, and after
_FIX = "correct the file in models/endpoints, OPENAI_BASE_URL, OPENAI_API_KEY or the account"


class _LeftOut(Exception):
    """The endpoint gives no samples for a question: why, and its words."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason)
        self.reason, self.message = reason, message


class _Again(Exception):
    """A try failed, and another may not. `odd`: the question may be why, not the endpoint; `seconds`: how
    long the endpoint says to wait; `holds`: others are to wait too."""

    def __init__(self, message: str, odd: bool = False, seconds: float | None = None, holds: bool = False) -> None:
        super().__init__(message)
        self.message, self.odd, self.seconds, self.holds = message, odd, seconds, holds


async def ask_endpoint(
    client: "AsyncOpenAI", line: Line, request: dict[str, Any], count: int, keep: Callable[[list[Sample]], None],
    leave_out: Callable[[str, str], None],
) -> None:  # fmt: skip
    """Gives `keep` so many samples, as they come: what an answer lacks is asked for again, with the seeds that are
    left. Where the endpoint gives none for this question, `leave_out` is given the reason and its words. Raises
    UserError where it refuses all questions, or goes on failing."""
    there = 0
    while there < count:
        left = {"n": count - there, "seed": request["seed"] + there}
        try:
            answer = await _answer(client, line, request | left)
        except _LeftOut as left_out:
            leave_out(left_out.reason, left_out.message)
            return
        if answer is None:
            return
        line.form.proven, line.form.unexplained = True, []
        samples = samples_of(answer)[: count - there]
        keep(samples)
        there += len(samples)


async def _answer(client: "AsyncOpenAI", line: Line, request: dict[str, Any]) -> Answer | None:
    """The endpoint's answer; None where the line closed. Raises _LeftOut, and UserError as `ask_endpoint` does."""
    for pause in (*PAUSES, None):
        try:
            return await _try(client, line, request)
        except _Again as again:
            failure = again
        if pause is not None:
            wait = pause if failure.seconds is None else failure.seconds
            if failure.holds:
                line.hold(wait)
            line.counts["retries"] += 1
            await line.pause(wait)
    tries = len(PAUSES) + 1
    problem = f"the endpoint gave no answer in {tries} tries ({failure.message})"
    sentence = f"{problem}; run it again: earlier answers are kept"
    if not failure.odd:
        raise UserError(sentence)
    _note(line.form, sentence)
    raise _LeftOut(NO_ANSWER, failure.message)


async def _try(client: "AsyncOpenAI", line: Line, request: dict[str, Any]) -> Answer | None:
    """One try: more than one request only where the form of requests changes. Raises _Again too."""
    from httpx2 import ReadTimeout
    from openai import APIConnectionError, APIStatusError

    from stages.endpoints.bounded_responses import TooLarge

    while True:
        async with line.places:
            await line.turn()
            if line.closed.is_set():
                return None
            line.counts["requests"] += 1
            body = line.form.body(request)
            try:
                return await _once(client, line, body)
            except APIStatusError as error:
                if not _adapts(line.form, body, error):
                    raise _failure(line.form, error, request["model"]) from None
            except APIConnectionError as error:
                reason = str(error.__cause__ or "") or type(error.__cause__ or error).__name__
                slow = isinstance(error.__cause__, ReadTimeout)
                raise _Again(f"no answer: {one_line(reason)}", odd=slow) from None
            except TooLarge as error:  # it is not paid for again
                _note(line.form, f"the endpoint cannot be read ({error}); set `samples_per_request` in its file")
                raise _LeftOut(NO_ANSWER, str(error)) from None
            except TimeoutError:
                raise _Again(f"no whole answer in {LONGEST_ANSWER:g} seconds", odd=True) from None
            except ValueError as error:
                raise _Again(one_line(str(error)), odd=True) from None


async def _once(client: "AsyncOpenAI", line: Line, body: dict[str, Any]) -> Answer:
    """One request. Raises ValueError where the answer is none, _LeftOut where it says why."""
    path = "/chat/completions" if "messages" in body else "/completions"
    async with asyncio.timeout(LONGEST_ANSWER):
        text = await client.post(path, cast_to=str, body=body)
    try:
        answer = read_answer(text)
    except ValueError as error:
        reason = left_out_reason(200, text) if is_error(text) else None
        if reason:
            raise _LeftOut(reason, one_line(str(error))) from None
        raise
    usage = answer.tokens()
    line.counts["prompt_tokens"] += usage.prompt_tokens or 0
    line.counts["completion_tokens"] += usage.completion_tokens or 0
    line.counts["without_usage"] += usage.prompt_tokens is None or usage.completion_tokens is None
    return answer


def _adapts(form: Form, body: dict[str, Any], error: "APIStatusError") -> bool:
    """Whether a refusal is about a field that can be sent otherwise: the form is changed then, and shown once."""
    status, text = error.status_code, error.response.text
    message = message_of(text)
    about_request = status in (400, 422) and left_out_reason(status, text) != FILTERED  # which may quote a question
    changed = form.adapt(body, message) if about_request else None
    if changed and changed not in form.changes:
        form.changes.append(changed)
        show(f"endpoint: {changed} (it answers {status}: {message})", sys.stderr)
    return changed is not None


def _failure(form: Form, error: "APIStatusError", model: str) -> Exception:
    """What an answer that is an error says: of the question, of all questions, or that another try may help."""
    status, text = error.status_code, error.response.text
    message = message_of(text)
    answer = f"it answers {status}: {message}"
    reason = left_out_reason(status, text)
    if reason:
        return _LeftOut(reason, answer)
    if (status in (408, 409, 429) or status >= 500) and error.code != "insufficient_quota":
        seconds = _retry_after(error.response.headers.get("retry-after"))
        return _Again(answer, odd=status == 500, seconds=seconds, holds=status == 429)
    about_request = status in (400, 422)
    fix = (form.fix(message) if about_request else None) or _FIX
    sentence = f"the endpoint refuses to be asked for `{model}` ({answer}); {fix}"
    if not about_request or is_about_the_account(text):
        return UserError(sentence)
    _note(form, sentence)
    return _LeftOut(REFUSED, answer)


def _note(form: Form, sentence: str) -> None:
    """Notes that a question has no samples for a reason that is not known. Raises UserError where that is so for
    several in a row: then it is about the endpoint."""
    form.unexplained.append(sentence)
    if len(form.unexplained) >= (_PROVEN if form.proven else _UNPROVEN):
        raise UserError(form.unexplained[0])


def _retry_after(header: str | None) -> float | None:
    """The seconds that the header Retry-After asks for, as a number or a date, within bounds; None where it does not
    say."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
        seconds = max(seconds, 0.0)
    return None if math.isnan(seconds) or seconds < 0 else min(seconds, _LONGEST)
