"""Samples completions from an OpenAI-compatible endpoint.

Transient errors (429, 5xx, truncated responses) are retried; permanent ones stop the run, or leave out the question
that they are about. The OpenAI client's own retries are off: they pass the rate limiter by, go on when the quota is
exhausted, hold back no other request after a 429, and do not include responses without a completion.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stages.core.errors import UserError
from stages.endpoints import refusals
from stages.endpoints.rate_limiter import RateLimiter, parse_retry_after
from stages.endpoints.request_form import RequestForm
from stages.endpoints.responses import Response, completions_of, parse_response
from stages.lm.completions import Completion

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each retry, unless the endpoint says how long
RESPONSE_TIMEOUT = 1200.0  # seconds from the start of a request to the end of its response
_MAX_UNEXPLAINED_AT_START, _MAX_UNEXPLAINED = 3, 10
"""Consecutive questions left out for unknown reasons that stop a run: before its first completion, and after."""
_FIX = "correct the file in models/endpoints, OPENAI_BASE_URL, OPENAI_API_KEY or the account"


@dataclass
class EndpointState:
    """What is known of an endpoint from earlier requests.

    `counts`: requests, retries and tokens. `has_answered`: whether it gave a completion before, so that a refusal is
    probably about the question. `unexplained`: messages of the last consecutive questions left out for unknown reasons.
    """

    form: RequestForm
    counts: Counter[str] = field(default_factory=Counter)
    has_answered: bool = False
    unexplained: list[str] = field(default_factory=list)

    def add_unexplained(self, message: str) -> None:
        """Notes a question left out for an unknown reason. Raises UserError after several in a row."""
        self.unexplained.append(message)
        if len(self.unexplained) >= (_MAX_UNEXPLAINED if self.has_answered else _MAX_UNEXPLAINED_AT_START):
            raise UserError(self.unexplained[0])


@dataclass(eq=False)
class _LeftOut(Exception):
    """The endpoint gives no completion for a question."""

    reason: str  # one of REASONS
    message: str  # what the endpoint says


@dataclass(eq=False)
class _TransientError(Exception):
    """A request failed, and a retry may succeed."""

    message: str
    about_question: bool = False  # the question may be the cause
    retry_after: float | None = None  # the seconds that the endpoint asks to wait, if it does
    for_all: bool = False  # all requests have to wait


@asynccontextmanager
async def open_client(limiter: RateLimiter, state: EndpointState) -> AsyncIterator["EndpointClient"]:
    """A client of the endpoint that OPENAI_BASE_URL and OPENAI_API_KEY name."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    from stages.endpoints.bounded_responses import ENCODINGS, bound_response

    http_client = DefaultAsyncHttpxClient(event_hooks={"response": [bound_response]})
    headers = {"Accept-Encoding": ENCODINGS}
    async with AsyncOpenAI(max_retries=0, timeout=600, http_client=http_client, default_headers=headers) as openai:
        yield EndpointClient(openai, limiter, state)


@dataclass
class EndpointClient:
    """Sends requests through `client`, as the `limiter` allows."""

    client: "AsyncOpenAI"
    limiter: RateLimiter
    state: EndpointState

    async def sample(
        self, request: dict[str, Any], count: int, save: Callable[[list[Completion]], None],
        leave_out: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        """Passes `count` completions to `save` as they arrive. Missing ones are requested again, with the next seeds.

        If the endpoint gives none for this question, calls `leave_out` with the reason and the endpoint's message.
        Returns early if the limiter is closed. Raises UserError if the endpoint refuses all questions or keeps failing.
        """
        saved = 0
        while saved < count:
            missing = {"n": count - saved, "seed": request["seed"] + saved}
            response = await self.respond(request | missing, leave_out)
            if response is None:
                return
            completions = completions_of(response)[: count - saved]
            save(completions)
            saved += len(completions)

    async def respond(self, request: dict[str, Any], leave_out: Callable[[str, str], None]) -> Response | None:
        """The response to one request; None if the limiter is closed, or if `leave_out` was called, as in `sample`."""
        try:
            response = await self._request_with_retries(request)
        except _LeftOut as left_out:
            leave_out(left_out.reason, left_out.message)
            return None
        if response is not None:
            self.state.has_answered, self.state.unexplained = True, []
        return response

    async def _request_with_retries(self, request: dict[str, Any]) -> Response | None:
        """The response; None if the limiter was closed. Raises _LeftOut, and UserError as `sample` does."""
        for delay in (*RETRY_DELAYS, None):
            try:
                return await self._request(request)
            except _TransientError as error:
                failure = error
            if delay is not None:
                wait = delay if failure.retry_after is None else failure.retry_after
                if failure.for_all:
                    self.limiter.back_off(wait)
                self.state.counts["retries"] += 1
                await self.limiter.sleep(wait)
        tries = f"{len(RETRY_DELAYS) + 1} tries ({failure.message})"
        message = f"the endpoint gave no answer in {tries}; run it again: earlier answers are kept"
        if not failure.about_question:
            raise UserError(message)
        self.state.add_unexplained(message)
        raise _LeftOut(refusals.NO_ANSWER, failure.message)

    async def _request(self, request: dict[str, Any]) -> Response | None:
        """Sends one request, and again only if its form is adapted. Raises _TransientError too."""
        from httpx2 import ReadTimeout
        from openai import APIConnectionError, APIStatusError

        from stages.endpoints.bounded_responses import ResponseTooLarge

        while True:
            async with self.limiter.slots:
                await self.limiter.acquire()
                if self.limiter.closed.is_set():
                    return None
                self.state.counts["requests"] += 1
                body = self.state.form.body(request)
                try:
                    return await self._send(body)
                except APIStatusError as error:
                    if not self.state.form.adapt(body, error.status_code, error.response.text):
                        raise self._failure(error, request["model"]) from None
                except APIConnectionError as error:
                    reason = str(error.__cause__ or "") or type(error.__cause__ or error).__name__
                    is_slow = isinstance(error.__cause__, ReadTimeout)
                    raise _TransientError(f"no answer: {refusals.one_line(reason)}", about_question=is_slow) from None
                except ResponseTooLarge as error:  # not retried: each response is paid for
                    fix = "set `samples_per_request` in its file"
                    self.state.add_unexplained(f"the endpoint cannot be read ({error}); {fix}")
                    raise _LeftOut(refusals.NO_ANSWER, str(error)) from None
                except TimeoutError:
                    message = f"no whole answer in {RESPONSE_TIMEOUT:g} seconds"
                    raise _TransientError(message, about_question=True) from None
                except ValueError as error:
                    raise _TransientError(refusals.one_line(str(error)), about_question=True) from None

    async def _send(self, body: dict[str, Any]) -> Response:
        """Raises ValueError if the response has no completion, and _LeftOut if it says why."""
        path = "/chat/completions" if "messages" in body else "/completions"
        async with asyncio.timeout(RESPONSE_TIMEOUT):
            text = await self.client.post(path, cast_to=str, body=body)
        try:
            response = parse_response(text)
        except ValueError as error:
            if refusals.is_error(text) and (reason := refusals.left_out_reason(200, text)):
                raise _LeftOut(reason, refusals.one_line(str(error))) from None
            raise
        usage, counts = response.token_usage(), self.state.counts
        counts["prompt_tokens"] += usage.prompt_tokens or 0
        counts["completion_tokens"] += usage.completion_tokens or 0
        counts["without_usage"] += usage.prompt_tokens is None or usage.completion_tokens is None
        return response

    def _failure(self, error: "APIStatusError", model: str) -> Exception:
        """The error that a response with an error status means: for the question, for all questions, or transient."""
        status, text = error.status_code, error.response.text
        message = refusals.message_of(text)
        answer = f"it answers {status}: {message}"
        if reason := refusals.left_out_reason(status, text):
            return _LeftOut(reason, answer)
        if (status in (408, 409, 429) or status >= 500) and error.code != "insufficient_quota":
            retry_after = parse_retry_after(error.response.headers.get("retry-after"))
            return _TransientError(answer, status == 500, retry_after, for_all=status == 429)
        may_be_question = status in (400, 422)
        fix = (self.state.form.fix(message) if may_be_question else None) or _FIX
        refusal = f"the endpoint refuses to be asked for `{model}` ({answer}); {fix}"
        if not may_be_question or refusals.is_about_account(text):
            return UserError(refusal)
        self.state.add_unexplained(refusal)
        return _LeftOut(refusals.REFUSED, answer)
