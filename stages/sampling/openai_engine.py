"""The engine `openai`: samples from a model behind an OpenAI-compatible endpoint."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from stages.core.display import show
from stages.core.errors import UserError
from stages.core.params import Params, read_params
from stages.endpoints.client import EndpointClient, EndpointState
from stages.endpoints.rate_limiter import RateLimiter, run_all
from stages.endpoints.request_form import RequestForm
from stages.lm.completions import Completion, Decoding, PromptedQuestion, Save
from stages.sampling.seeds import first_seed

_CODE_VERSION = 1  # raised by hand if requests change: a hash of the code would pay for everything again at each edit
_PRICED = ("prompt_tokens", "completion_tokens")
_MAX_CHOICES = 10_000  # of one request
_LIMITS = {"SENSE_OPENAI_CONCURRENCY": "16", "SENSE_OPENAI_REQUESTS_PER_MINUTE": "1000000"}  # with their defaults
_BATCH_FACTOR = 4  # questions of a batch for each concurrent request: few wait for the slowest


class Endpoint(Params):
    """A file in models/endpoints: the model, how it is requested, and the price of a million tokens."""

    model: str = Field(min_length=1)
    version: str = Field(min_length=1)
    api: Literal["chat", "completions"]
    logprobs: bool
    input_price: float | None = Field(ge=0)
    output_price: float | None = Field(ge=0)
    samples_per_request: int | None = Field(default=None, gt=0, le=10_000)


class OpenaiEngine:
    """Samples from the model that an endpoint file names; OPENAI_BASE_URL and OPENAI_API_KEY give address and key.

    Responses are paid for and cannot be repeated, so completions stay in the cache when the code changes. `left_out`:
    question_id to the reason why the endpoint gave no completions. Raises UserError with all mistakes in the file and
    the environment.
    """

    block_size = 1

    def __init__(self, endpoint: Path) -> None:
        errors: list[str] = []
        try:
            self.endpoint = read_params("endpoint", Endpoint, endpoint)
        except UserError as error:
            errors += error.sentences
        errors += _environment_errors()
        if errors:
            raise UserError(*errors)
        self.concurrency, self.per_minute = (int(os.environ.get(name, default)) for name, default in _LIMITS.items())
        self.name, self.version = self.endpoint.model, self.endpoint.version
        self.state = EndpointState(RequestForm(self.endpoint.samples_per_request or _MAX_CHOICES))
        self.next_start = time.monotonic()
        self.left_out: dict[str, str] = {}

    def batches(self, questions: Sequence[PromptedQuestion]) -> list[list[int]]:
        """A few times as many questions as there are concurrent requests."""
        size = _BATCH_FACTOR * self.concurrency
        return [list(range(start, min(start + size, len(questions)))) for start in range(0, len(questions), size)]

    def identity(self, batch: Sequence[PromptedQuestion]) -> object:
        """The model, how it is requested, and the version of this code."""
        return ["openai", self.endpoint.model_dump(include={"model", "version", "api", "logprobs"}), _CODE_VERSION]

    def sample(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, first: int, count: int
    ) -> list[list[Completion]]:
        """As `Engine.sample`; none if `left_out`. Raises UserError if the endpoint refuses all or keeps failing."""
        rows: list[list[Completion]] = [[] for _ in questions]
        numbers = [range(first, first + count)] * len(questions)
        self.sample_incrementally(questions, decoding, numbers, lambda at, completions: rows[at].extend(completions))
        return rows

    def sample_incrementally(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, numbers: Sequence[range], save: Save
    ) -> None:
        """Passes completions to `save` as they arrive. Raises UserError as `sample` does."""
        asyncio.run(self._sample(questions, decoding, numbers, save))

    async def _sample(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, numbers: Sequence[range], save: Save
    ) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        from stages.endpoints.bounded_responses import ENCODINGS, bound_response

        self.state.has_answered |= any(missing.start for missing in numbers)
        http_client = DefaultAsyncHttpxClient(event_hooks={"response": [bound_response]})
        headers = {"Accept-Encoding": ENCODINGS}
        async with AsyncOpenAI(max_retries=0, timeout=600, http_client=http_client, default_headers=headers) as openai:
            limiter = RateLimiter(self.concurrency, self.per_minute, self.next_start)
            client = EndpointClient(openai, limiter, self.state)
            tasks = []
            for position, (question, missing) in enumerate(zip(questions, numbers, strict=True)):
                request = self._request(question, decoding, missing.start)
                leave_out = partial(self._leave_out, question.question_id)
                sampling = client.sample(request, len(missing), partial(save, position), leave_out)
                tasks.append(asyncio.create_task(sampling))
            try:
                await run_all(limiter, tasks)
            finally:
                self.next_start = limiter.next_start
        if self.state.unexplained and not self.state.has_answered:
            raise UserError(self.state.unexplained[0])

    def _leave_out(self, question_id: str, reason: str, message: str) -> None:
        """Notes why a question has no completions. The first of each reason is shown."""
        if reason not in self.left_out.values():
            show(f"endpoint: {question_id} is left out as {reason} ({message}); others are counted", sys.stderr)
        self.left_out[question_id] = reason

    def _request(self, question: PromptedQuestion, decoding: Decoding, first: int) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.endpoint.model, "seed": first_seed(decoding.seed, question.question_id) + first,
            "temperature": decoding.temperature, "top_p": decoding.top_p, "max_tokens": decoding.max_tokens,
        }  # fmt: skip
        if self.endpoint.api == "completions":
            return request | {"prompt": question.prompt} | ({"logprobs": 1} if self.endpoint.logprobs else {})
        request["messages"] = [{"role": "user", "content": question.prompt}]
        return request | ({"logprobs": True} if self.endpoint.logprobs else {})

    def report(self) -> dict[str, Any]:
        """The requests, tokens and cost of this run, without those of earlier runs; also shown on stderr."""
        counts = self.state.counts
        usage: dict[str, Any] = {name: counts[name] for name in ("requests", "retries", *_PRICED, "without_usage")}
        prices = [self.endpoint.input_price, self.endpoint.output_price]
        known_prices = [price for price in prices if price is not None]
        costs = [usage[name] * price / 1e6 for name, price in zip(_PRICED, known_prices, strict=False)]
        usage["cost"] = round(sum(costs), 6) if known_prices == prices and not counts["without_usage"] else None
        show("endpoint: " + ", ".join(f"{name} {value}" for name, value in usage.items()), sys.stderr)
        return {"endpoint": usage}


def _environment_errors() -> list[str]:
    """The mistakes in the environment. Address and key are not shown: an address may hold a password."""
    errors, key = [], os.environ.get("OPENAI_API_KEY", "")
    if not _is_address(os.environ.get("OPENAI_BASE_URL", "")):
        fix = "export one like https://host:8000/v1, its port at most 65535, with no `@` and nothing behind its path"
        errors.append(f"OPENAI_BASE_URL is not the address of an endpoint; {fix}")
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        fix = "export it, or any word where the endpoint wants none"
        errors.append(f"OPENAI_API_KEY is not set, or no word of ASCII letters, digits and signs; {fix}")
    for name, default in _LIMITS.items():
        text = os.environ.get(name, default)
        if not (text.isdecimal() and int(text) > 0):
            errors.append(f"{name} is `{text}`; set it to a whole number, 1 or more, or unset it")
    return errors


def _is_address(text: str) -> bool:
    """Whether requests can be sent to this URL. Neither of the two parsers finds every mistake."""
    import httpx2

    try:
        url, port = httpx2.URL(text), urlsplit(text).port
    except (ValueError, httpx2.InvalidURL):
        return False
    is_plain = not (" " in text or url.userinfo or url.query or url.fragment)
    return url.scheme in ("http", "https") and bool(url.host) and port != 0 and is_plain
