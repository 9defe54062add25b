"""A strong model under a hard budget. Every answer is accounted for, also those that an earlier run has paid for.

So a budget belongs to a version of the dataset, not to a run: a run that is killed and repeated ends where one that was
not would have ended.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from pydantic import Field

from stages.core.params import Params
from stages.synthesis.answers import json_schema
from stages.synthesis.requests import FORMS, Kind, Request


class BudgetParams(Params):
    """Section `synthesize.budget` of params.yaml; None = no limit."""

    requests: int | None = Field(ge=0, le=10**9)
    tokens: int | None = Field(ge=0, le=10**13)
    cost: float | None = Field(ge=0)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came. `finish_reason`: as in `candidates`; or why there is no text. Tokens are None if the
    endpoint does not report them."""

    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class StrongModel(Protocol):
    """What answers requests. `name` and `version` are columns of `synthetic`; `max_tokens`: of an answer."""

    name: str
    version: str
    max_tokens: int

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """The answer to each request, in their order."""

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """The price of these tokens; None if it is not known."""


@dataclass
class BudgetedModel:
    """Asks `model` as long as the worst case of what is asked fits into `budget`.

    `counts`: requests by kind, tokens. `exhausted`: the limit that ended it, empty as long as none did.
    """

    model: StrongModel
    budget: BudgetParams
    counts: Counter[str] = field(default_factory=Counter)
    exhausted: str = ""

    def ask(self, requests: Sequence[Request]) -> list[Answer | None]:
        """The answer to each request, in their order; None for those that the budget does not allow.

        The longest affordable prefix is asked at once. What it leaves of its worst case is spent on the rest.
        """
        answers: list[Answer | None] = []
        while len(answers) < len(requests):
            rest = requests[len(answers) :]
            part = rest[: self._affordable(rest)]
            if not part:
                return answers + [None] * len(rest)
            for request, answer in zip(part, self.model.answer(part), strict=True):
                self._account(request, answer)
                answers.append(answer)
        return answers

    def spent(self) -> dict[str, float | int | None]:
        """Requests, tokens and cost so far."""
        prompt, completion = self.counts["prompt_tokens"], self.counts["completion_tokens"]
        cost = self.model.cost(prompt, completion)
        return {
            "requests": self.counts["requests"], "prompt_tokens": prompt, "completion_tokens": completion,
            "cost": None if cost is None else round(cost, 6),
        }  # fmt: skip

    def _account(self, request: Request, answer: Answer) -> None:
        worst_prompt, worst_completion = self._worst_case(request)
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        self.counts["requests"] += 1
        self.counts[request.kind] += 1
        self.counts["prompt_tokens"] += worst_prompt if prompt is None else prompt
        self.counts["completion_tokens"] += worst_completion if completion is None else completion

    def _affordable(self, requests: Sequence[Request]) -> int:
        """How many of the requests fit into the budget, from the first, whatever their answers are."""
        count, prompt, completion = (self.counts[name] for name in ("requests", "prompt_tokens", "completion_tokens"))
        for number, request in enumerate(requests):
            worst_prompt, worst_completion = self._worst_case(request)
            count, prompt, completion = count + 1, prompt + worst_prompt, completion + worst_completion
            cost = self.model.cost(prompt, completion) if self.budget.cost is not None else None
            used = {"requests": count, "tokens": prompt + completion, "cost": cost}
            for name, limit in self.budget.model_dump().items():
                if limit is not None and (used[name] or 0) > limit:
                    self.exhausted = name if number == 0 else self.exhausted
                    return number
        return len(requests)

    def _worst_case(self, request: Request) -> tuple[int, int]:
        """Tokens of prompt and completion at most: no tokenizer gives more tokens than a text has bytes. Some endpoints
        put the JSON schema of the answer into the prompt."""
        texts = sum(len(message["content"].encode()) + 16 for message in request.messages())
        return texts + _schema_bytes(request.kind), self.model.max_tokens


@cache
def _schema_bytes(kind: Kind) -> int:
    return len(json.dumps(json_schema(FORMS[kind])))
