"""The engine `openai`: samples of a model behind an OpenAI-compatible endpoint."""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from stages.core.display import show
from stages.core.errors import UserError
from stages.core.params import Params, read_params
from stages.endpoints.client import ask_endpoint
from stages.endpoints.request_form import Form
from stages.endpoints.request_line import Line, all_of
from stages.lm.completions import Ask, Decoding, Keep, Sample
from stages.sampling.seeds import first_seed

_CODE = 1  # raised by hand where what is asked changes: an edit must not pay for everything again
_PRICED = ("prompt_tokens", "completion_tokens")
_MOST = 10_000  # samples in one request
_BATCH = 4  # times as many questions as there are requests at once: few wait for the slowest


class Endpoint(Params):
    """A file in models/endpoints: which model, how it is asked, what a million tokens cost."""

    model: str = Field(min_length=1)
    version: str = Field(min_length=1)
    api: Literal["chat", "completions"]
    logprobs: bool
    input_price: float | None = Field(ge=0)
    output_price: float | None = Field(ge=0)
    samples_per_request: int | None = Field(default=None, gt=0, le=10_000)


class OpenaiEngine:
    """The model that an endpoint file names. Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY.

    What it answers cannot be made again, and is paid for: it is kept, whatever else is asked. `left_out`: question_id
    to the reason why it gave no samples for it. Raises UserError for each mistake in the file and in the environment.
    """

    together = 1

    def __init__(self, endpoint: Path) -> None:
        wrong: list[str] = []
        try:
            self.endpoint = read_params("endpoint", Endpoint, endpoint)
        except UserError as error:
            wrong += error.sentences
        wrong += _faults(os.environ.get("OPENAI_BASE_URL", ""), os.environ.get("OPENAI_API_KEY", ""))
        concurrency = _whole("SENSE_OPENAI_CONCURRENCY", "16", wrong)
        per_minute = _whole("SENSE_OPENAI_REQUESTS_PER_MINUTE", "1000000", wrong)
        if wrong:
            raise UserError(*wrong)
        self.name, self.version = self.endpoint.model, self.endpoint.version
        self.concurrency, self.per_minute = concurrency, per_minute
        self.counts: Counter[str] = Counter()
        self.next_start = time.monotonic()
        self.form = Form(self.endpoint.samples_per_request or _MOST)
        self.left_out: dict[str, str] = {}

    def batches(self, asks: Sequence[Ask]) -> list[list[int]]:
        """A few times as many questions as are asked at once."""
        size = _BATCH * self.concurrency
        return [list(range(start, min(start + size, len(asks)))) for start in range(0, len(asks), size)]

    def identity(self, batch: Sequence[Ask]) -> object:
        """The model, how it is asked, and this code."""
        asked = self.endpoint.model_dump(include={"model", "version", "api", "logprobs"})
        return ["openai", asked, _CODE]

    def sample(self, asks: Sequence[Ask], decoding: Decoding, first: int, count: int) -> list[list[Sample]]:
        """Samples number `first` to `first + count` of each; none of a question that the endpoint gives none for, see
        `left_out`. Raises UserError where it refuses what is asked, or goes on failing."""
        made: list[list[Sample]] = [[] for _ in asks]
        numbers = [range(first, first + count)] * len(asks)
        self.sample_live(asks, decoding, numbers, lambda position, samples: made[position].extend(samples))
        return made

    def sample_live(self, asks: Sequence[Ask], decoding: Decoding, numbers: Sequence[range], keep: Keep) -> None:
        """Gives `keep` the samples as they come. Raises UserError as `sample` does."""
        asyncio.run(self._sample(asks, decoding, numbers, keep))

    async def _sample(self, asks: Sequence[Ask], decoding: Decoding, numbers: Sequence[range], keep: Keep) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        from stages.endpoints.bounded_responses import ENCODINGS, bound

        self.form.proven |= any(own.start for own in numbers)
        bounded = DefaultAsyncHttpxClient(event_hooks={"response": [bound]})
        headers = {"Accept-Encoding": ENCODINGS}
        async with AsyncOpenAI(max_retries=0, timeout=600, http_client=bounded, default_headers=headers) as client:
            line = Line(self.concurrency, self.per_minute, self.counts, self.form, self.next_start)
            jobs = []
            for position, (ask, own) in enumerate(zip(asks, numbers, strict=True)):
                request = self._request(ask, decoding, own.start)
                leave_out = partial(self._leave_out, ask.question_id)
                job = ask_endpoint(client, line, request, len(own), partial(keep, position), leave_out)
                jobs.append(asyncio.create_task(job))
            try:
                await all_of(line, jobs)
            finally:
                self.next_start = line.next
        if self.form.unexplained and not self.form.proven:
            raise UserError(self.form.unexplained[0])

    def _leave_out(self, question_id: str, reason: str, message: str) -> None:
        """Notes why the endpoint gives no samples for a question. The first of each reason is shown."""
        if reason not in self.left_out.values():
            show(f"endpoint: {question_id} is left out as {reason} ({message}); others are counted", sys.stderr)
        self.left_out[question_id] = reason

    def _request(self, ask: Ask, decoding: Decoding, first: int) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.endpoint.model, "seed": first_seed(decoding.seed, ask.question_id) + first,
            "temperature": decoding.temperature, "top_p": decoding.top_p, "max_tokens": decoding.max_tokens,
        }  # fmt: skip
        if self.endpoint.api == "completions":
            return request | {"prompt": ask.prompt} | ({"logprobs": 1} if self.endpoint.logprobs else {})
        request["messages"] = [{"role": "user", "content": ask.prompt}]
        return request | ({"logprobs": True} if self.endpoint.logprobs else {})

    def report(self) -> dict[str, Any]:
        """What this run asked for and what that costs, also told on stderr; not what an earlier run paid for."""
        asked: dict[str, Any] = {name: self.counts[name] for name in ("requests", "retries", *_PRICED, "without_usage")}
        prices = [self.endpoint.input_price, self.endpoint.output_price]
        known = [price for price in prices if price is not None]
        costs = [asked[name] * price / 1e6 for name, price in zip(_PRICED, known, strict=False)]
        asked["cost"] = round(sum(costs), 6) if known == prices and not self.counts["without_usage"] else None
        show("endpoint: " + ", ".join(f"{name} {value}" for name, value in asked.items()), sys.stderr)
        return {"endpoint": asked}


def _faults(address: str, key: str) -> list[str]:
    """What is wrong with address and key, neither of which is shown: an address may hold a password."""
    wrong = []
    if not _is_address(address):
        fix = "export one like https://host:8000/v1, its port at most 65535, with no `@` and nothing behind its path"
        wrong.append(f"OPENAI_BASE_URL is not the address of an endpoint; {fix}")
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        fix = "export it, or any word where the endpoint wants none"
        wrong.append(f"OPENAI_API_KEY is not set, or no word of ASCII letters, digits and signs; {fix}")
    return wrong


def _is_address(text: str) -> bool:
    """Whether requests can be sent there. Neither of the two parsers finds all that is wrong."""
    import httpx2

    try:
        url, port = httpx2.URL(text), urlsplit(text).port
    except (ValueError, httpx2.InvalidURL):
        return False
    plain = not (" " in text or url.userinfo or url.query or url.fragment)
    return url.scheme in ("http", "https") and bool(url.host) and port != 0 and plain


def _whole(name: str, default: str, wrong: list[str]) -> int:
    text = os.environ.get(name, default)
    if text.isdecimal() and int(text) > 0:
        return int(text)
    wrong.append(f"{name} is `{text}`; set it to a whole number, 1 or more, or unset it")
    return 1
