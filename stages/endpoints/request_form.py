"""The form of the requests to an endpoint: what it refuses of it is said in another way, where that changes nothing."""

import re
from dataclasses import dataclass, field
from typing import Any

_FIXES = {
    "logprobs": "set `logprobs` to false in its file in models/endpoints",
    "temperature": "set `candidates.temperature` to what it takes; 1 is not sent where it takes none",
    "top_p": "set `candidates.top_p` to what it takes; 1 is not sent where it takes none",
    "max_tokens": "lower `candidates.max_tokens`",
    "max_completion_tokens": "lower `candidates.max_tokens`",
}
_DEFAULTS = {"top_p": 1, "temperature": 1}  # what an endpoint takes where nothing is sent
_MANY = r"candidate_?count|num_generations|num_return_sequences|best_of|(multiple|number of) (candidate|choice|complet)"


@dataclass
class Form:
    """How an endpoint is asked, as its answers have taught so far.

    `most`: samples that are asked for in one request; `omitted`: fields that are not sent; `token_limit`: the name of
    the field for `max_tokens`; `changes`: how all that came to be, in words. `proven`: whether it has answered a
    question, so that a refusal is about another one; `unexplained`: what it said to the last questions in a row that it
    gave no samples for, and no known reason.
    """

    most: int
    omitted: set[str] = field(default_factory=set)
    token_limit: str = "max_tokens"
    proven: bool = False
    changes: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    def body(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request as it is sent."""
        body = {name: value for name, value in request.items() if name not in self.omitted}
        body[self.token_limit] = body.pop("max_tokens")
        return body | ({"n": min(request["n"], self.most)} if "n" in body else {})

    def adapt(self, body: dict[str, Any], message: str) -> str | None:
        """Changes the form where the message that refuses `body` names a field that can be sent otherwise: fewer
        samples a request, `max_completion_tokens`, no seed, and no top_p or temperature of 1. Returns what changed;
        None where nothing did."""
        if "max_tokens" in body and "max_completion_tokens" in message:
            self.token_limit = "max_completion_tokens"
            return "`max_completion_tokens` is sent in place of `max_tokens`"
        many = _names("n", message) or re.search(_MANY, message, re.IGNORECASE)
        if many and body.get("n", 1) > 1:
            self.most = min(self.most, body["n"] // 2)
            return f"{self.most} samples are asked for in one request"
        unsent = [name for name, value in _DEFAULTS.items() if body.get(name) == value and _names(name, message)]
        unsent += [name for name in ("seed", "n") if name in body and _names(name, message)]
        if not unsent:
            return None
        self.omitted.add(unsent[0])
        return f"`{unsent[0]}` is not sent"

    def fix(self, message: str) -> str | None:
        """What a user can change where a message refuses a field that cannot be sent otherwise."""
        return next((fix for name, fix in _FIXES.items() if _names(name, message)), None)


def _names(name: str, message: str) -> bool:
    return re.search(rf"(?<![\w'\\-]){name}(?![\w'-])|['`\"]{name}['`\"]", message) is not None
