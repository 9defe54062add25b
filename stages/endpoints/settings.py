"""What a request to an endpoint needs: the endpoint file, and the address, key and limits in the environment."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from stages.core.errors import UserError
from stages.core.params import Params, read_params

PRICED = ("prompt_tokens", "completion_tokens")
_LIMITS = {"SENSE_OPENAI_CONCURRENCY": "16", "SENSE_OPENAI_REQUESTS_PER_MINUTE": "1000000"}  # with their defaults


class Endpoint(Params):
    """A file in models/endpoints: the model, how it is requested, and the price of a million tokens."""

    model: str = Field(min_length=1)
    version: str = Field(min_length=1)
    api: Literal["chat", "completions"]
    logprobs: bool
    input_price: float | None = Field(ge=0)
    output_price: float | None = Field(ge=0)
    samples_per_request: int | None = Field(default=None, gt=0, le=10_000)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """The price of these tokens; None if a price is not known."""
        if self.input_price is None or self.output_price is None:
            return None
        return (prompt_tokens * self.input_price + completion_tokens * self.output_price) / 1e6


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """`concurrency`: requests in flight at once; `per_minute`: requests that may start in a minute."""

    endpoint: Endpoint
    concurrency: int
    per_minute: int


def read_settings(file: Path) -> EndpointSettings:
    """Reads an endpoint file and the environment. Raises UserError with all mistakes in both."""
    errors: list[str] = []
    endpoint = None
    try:
        endpoint = read_params("endpoint", Endpoint, file)
    except UserError as error:
        errors += error.sentences
    errors += _environment_errors()
    if errors or endpoint is None:
        raise UserError(*errors)
    concurrency, per_minute = (int(os.environ.get(name, default)) for name, default in _LIMITS.items())
    return EndpointSettings(endpoint, concurrency, per_minute)


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
