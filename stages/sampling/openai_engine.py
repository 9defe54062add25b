"""The engine `openai`: samples from a model behind an OpenAI-compatible endpoint."""

import asyncio
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stages.core.display import show
from stages.core.errors import UserError
from stages.endpoints.client import EndpointState, open_client
from stages.endpoints.rate_limiter import RateLimiter, run_all
from stages.endpoints.request_form import RequestForm
from stages.endpoints.settings import PRICED, read_settings
from stages.lm.completions import Completion, Decoding, PromptedQuestion, Save
from stages.sampling.seeds import first_seed

_CODE_VERSION = 1  # raised by hand if requests change: a hash of the code would pay for everything again at each edit
_MAX_CHOICES = 10_000  # of one request
_BATCH_FACTOR = 4  # questions of a batch for each concurrent request: few wait for the slowest


class OpenaiEngine:
    """Samples from the model that an endpoint file names; OPENAI_BASE_URL and OPENAI_API_KEY give address and key.

    Responses are paid for and cannot be repeated, so completions stay in the cache when the code changes. `left_out`:
    question_id to the reason why the endpoint gave no completions. Raises UserError with all mistakes in the file and
    the environment.
    """

    block_size = 1

    def __init__(self, endpoint: Path) -> None:
        self.settings = read_settings(endpoint)
        self.endpoint, self.concurrency = self.settings.endpoint, self.settings.concurrency
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
        self.state.has_answered |= any(missing.start for missing in numbers)
        limiter = RateLimiter(self.concurrency, self.settings.per_minute, self.next_start)
        async with open_client(limiter, self.state) as client:
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
        usage: dict[str, Any] = {name: counts[name] for name in ("requests", "retries", *PRICED, "without_usage")}
        cost = self.endpoint.cost(*(counts[name] for name in PRICED))
        usage["cost"] = None if cost is None or counts["without_usage"] else round(cost, 6)
        show("endpoint: " + ", ".join(f"{name} {value}" for name, value in usage.items()), sys.stderr)
        return {"endpoint": usage}

