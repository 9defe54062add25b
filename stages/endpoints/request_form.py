"""Which optional fields a request has: a field that an endpoint rejects is sent differently if that changes nothing."""

import re
import sys
from dataclasses import dataclass, field
from typing import Any

from stages.core.display import show
from stages.endpoints.refusals import FILTERED, left_out_reason, message_of

_FIXES = {
    "logprobs": "set `logprobs` to false in its file in models/endpoints",
    "temperature": "set `candidates.temperature` to what it takes; 1 is not sent where it takes none",
    "top_p": "set `candidates.top_p` to what it takes; 1 is not sent where it takes none",
    "max_tokens": "lower `candidates.max_tokens`",
    "max_completion_tokens": "lower `candidates.max_tokens`",
}
_DEFAULTS = {"top_p": 1, "temperature": 1}  # the API's defaults: leaving these values out changes nothing
_MULTIPLE_CHOICES = (
    r"candidate_?count|num_generations|num_return_sequences|best_of|(multiple|number of) (candidate|choice|complet)"
)


@dataclass
class RequestForm:
    """The form of requests, adapted to what the endpoint has rejected so far.

    `max_choices`: the largest `n` of a request. `omitted`: fields that are not sent. `token_limit`: the field that
    `max_tokens` is sent as. `changes`: the adaptations so far, in words.
    """

    max_choices: int
    omitted: set[str] = field(default_factory=set)
    token_limit: str = "max_tokens"
    changes: list[str] = field(default_factory=list)

    def body(self, request: dict[str, Any]) -> dict[str, Any]:
        """The body to send for a request with all fields."""
        body = {name: value for name, value in request.items() if name not in self.omitted}
        body[self.token_limit] = body.pop("max_tokens")
        return body | ({"n": min(request["n"], self.max_choices)} if "n" in body else {})

    def adapt(self, body: dict[str, Any], status: int, text: str) -> bool:
        """Adapts the form if an error rejects a field of `body` that can be sent differently; shows each change once.

        Possible are fewer choices, `max_completion_tokens`, no seed, and leaving out a top_p or temperature of 1.
        """
        if status not in (400, 422) or left_out_reason(status, text) == FILTERED:  # a filter may quote the question
            return False
        message = message_of(text)
        change = self._change(body, message)
        if change and change not in self.changes:
            self.changes.append(change)
            show(f"endpoint: {change} (it answers {status}: {message})", sys.stderr)
        return change is not None

    def _change(self, body: dict[str, Any], message: str) -> str | None:
        """Changes the form, and returns the change in words; None if there is none."""
        if "max_tokens" in body and "max_completion_tokens" in message:
            self.token_limit = "max_completion_tokens"
            return "`max_completion_tokens` is sent in place of `max_tokens`"
        rejects_n = _mentions("n", message) or re.search(_MULTIPLE_CHOICES, message, re.IGNORECASE)
        if rejects_n and body.get("n", 1) > 1:
            self.max_choices = min(self.max_choices, body["n"] // 2)
            return f"{self.max_choices} samples are asked for in one request"
        optional = [name for name, value in _DEFAULTS.items() if body.get(name) == value]
        optional += [name for name in ("seed", "n", "response_format") if name in body]
        rejected = next((name for name in optional if _mentions(name, message)), None)
        if rejected is None:
            return None
        self.omitted.add(rejected)
        return f"`{rejected}` is not sent"

    def fix(self, message: str) -> str | None:
        """What the user can change if a message rejects a field that cannot be sent differently."""
        return next((fix for name, fix in _FIXES.items() if _mentions(name, message)), None)


def _mentions(name: str, message: str) -> bool:
    return re.search(rf"(?<![\w'\\-]){name}(?![\w'-])|['`\"]{name}['`\"]", message) is not None
