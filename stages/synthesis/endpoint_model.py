"""A strong model behind an OpenAI-compatible endpoint. Each answer is kept in the cache as soon as it arrives."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from stages.cache.result_cache import Cache
from stages.core.display import show
from stages.core.errors import UserError
from stages.core.files import fingerprint
from stages.core.progress import Bar, progress
from stages.endpoints.client import EndpointClient, EndpointState, open_client
from stages.endpoints.rate_limiter import RateLimiter, run_all
from stages.endpoints.refusals import NO_ANSWER
from stages.endpoints.request_form import RequestForm
from stages.endpoints.responses import completions_of
from stages.endpoints.settings import PRICED, read_settings
from stages.synthesis.answers import json_schema
from stages.synthesis.requests import FORMS, Request
from stages.synthesis.strong_model import Answer

ROUNDS = 3
"""How often a request is asked for that gets no answer: once with the others, and again at the end."""
_CODE_VERSION = 1  # raised by hand if requests change: a hash of the code would pay for everything again at each edit


class EndpointModel:
    """Asks the model that an endpoint file names; OPENAI_BASE_URL and OPENAI_API_KEY give address and key.

    Raises UserError with all mistakes in the file and the environment.
    """

    def __init__(self, endpoint: Path, temperature: float, max_tokens: int, seed: int, cache: Cache) -> None:
        self.settings = read_settings(endpoint)
        self.endpoint = self.settings.endpoint
        self.name, self.version = self.endpoint.model, self.endpoint.version
        self.temperature, self.max_tokens, self.seed, self.cache = temperature, max_tokens, seed, cache
        self.state = EndpointState(RequestForm(1))
        self.next_start = time.monotonic()

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """The price of these tokens, by the endpoint file."""
        return self.endpoint.cost(prompt_tokens, completion_tokens)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """The answer to each request, from the cache or the endpoint. One that the endpoint refuses has no text.

        Raises UserError if the endpoint refuses all requests or keeps failing; what it answered before is kept.
        """
        bodies = [self._body(request) for request in requests]
        keys = [self._key(body) for body in bodies]
        refusals: dict[int, Answer] = {}
        kept = self._kept(keys)
        self.state.has_answered |= bool(kept)
        todo = [index for index in range(len(requests)) if index not in kept]
        for _ in range(ROUNDS):
            if todo:
                asyncio.run(self._ask([(index, bodies[index], keys[index]) for index in todo], refusals))
            todo = [index for index in todo if index in refusals and refusals[index].finish_reason == NO_ANSWER]
        kept = self._kept(keys)  # another run may have been faster: what was kept first counts
        self._show()
        return [kept.get(index) or refusals[index] for index in range(len(requests))]

    def _kept(self, keys: Sequence[bytes]) -> dict[int, Answer]:
        """The answers in the cache, by the position of their key."""
        return {index: Answer(**record) for index, record in self.cache.get(keys).items()}

    def _key(self, body: dict[str, Any]) -> bytes:
        identity = [self.endpoint.model_dump(include={"model", "version", "api"}), body, _CODE_VERSION]
        return blake2b(fingerprint("strong", identity).encode(), digest_size=20).digest()

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.endpoint.model, "temperature": self.temperature, "max_tokens": self.max_tokens,
            "seed": int(fingerprint(self.seed, request.name)[:7], 16),
        }  # fmt: skip
        messages = request.messages()
        if self.endpoint.api == "completions":
            return body | {"prompt": "\n\n".join(message["content"] for message in messages) + "\n\n"}
        return body | {"messages": messages, "response_format": json_schema(FORMS[request.kind])}

    async def _ask(self, todo: Sequence[tuple[int, dict[str, Any], bytes]], refusals: dict[int, Answer]) -> None:
        limiter = RateLimiter(self.settings.concurrency, self.settings.per_minute, self.next_start)
        with progress("strong model", len(todo), "requests") as bar:
            async with open_client(limiter, self.state) as client:
                tasks = [asyncio.create_task(self._ask_one(client, *each, refusals, bar)) for each in todo]
                try:
                    await run_all(limiter, tasks)
                finally:
                    self.next_start = limiter.next_start
        if self.state.unexplained and not self.state.has_answered:
            raise UserError(self.state.unexplained[0])

    async def _ask_one(
        self, client: EndpointClient, index: int, body: dict[str, Any], key: bytes, refusals: dict[int, Answer],
        bar: Bar,
    ) -> None:  # fmt: skip
        response = await client.respond(body, partial(self._refuse, refusals, index))
        if response is None:
            return
        refusals.pop(index, None)
        completion, usage = completions_of(response)[0], response.token_usage()
        answer = Answer(completion.completion, completion.finish_reason, usage.prompt_tokens, usage.completion_tokens)
        self.cache.put([(key, asdict(answer))])
        bar.update()

    def _refuse(self, refusals: dict[int, Answer], index: int, reason: str, message: str) -> None:
        """Notes why a request has no answer; it costs nothing. The first of each reason is shown."""
        if reason not in {answer.finish_reason for answer in refusals.values()}:
            show(f"endpoint: a request has no answer ({reason}: {message}); others are counted", sys.stderr)
        refusals[index] = Answer("", reason, 0, 0)

    def _show(self) -> None:
        counts = self.state.counts
        shown = ", ".join(f"{name} {counts[name]}" for name in ("requests", "retries", *PRICED))
        show(f"endpoint, in this run: {shown}", sys.stderr)
