"""Keeps secrets out of texts that are shown or stored: keys, tokens, user info and signatures of addresses.

A server or proxy may echo a request in its answer: whole, cut, masked or in base64. So every run of 8 or more
characters that a text shares with a secret is hidden, in any of these encodings.
"""

import json
import os
import re
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote, unquote

HIDDEN = "…"
"""The replacement of a secret."""

_RUN = 8  # characters; a shorter key is most often a placeholder such as `none`
_KEY_RUN = 16  # characters of a key in a completion; SQL may share a shorter word with a key
_SHORTEST_WORD = 4
_KEYS = ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_ADDRESSES = re.compile(r"(?:\w+_proxy|HF_ENDPOINT|OPENAI_BASE_URL)", re.IGNORECASE)  # environment variables
_USER_INFO = re.compile(r"(?:\w+://)?([^/\s]+)@")
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_PATTERNS = (
    re.compile(r"(?<=://)()[^/\s\"'<>]*(?=@)"),  # user info of an address
    re.compile(  # signatures and tokens in the query of an address
        r"((?:[?&;]|%3F|%26)[\w.-]*(?:signature|token|credential|secret|passw|policy|auth|api[-_]?key|\bsig\b|\bkey)"
        r"[\w.-]*(?:=|%3D))[^&\s\"'<>)]+",
        re.IGNORECASE,
    ),
    re.compile(  # headers, also as JSON or as a Python dict or tuple
        r"((?:authorization|api-key|access[-_]token|cookie)(?:[\\\"']*\s*[:=]\s*|[\\\"']+\s*,\s*)(?:b?[\\\"']+)?"
        r"(?:(?:bearer|basic|token)\s+)?)[^\s\"'\\,;{}]+",
        re.IGNORECASE,
    ),
    re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{16,}", re.IGNORECASE),
)


def redact(text: str) -> str:
    """`text` without secrets: those of this process's environment and Hub login, user info and signatures of any
    address, and values of authorization headers."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    secrets = (*_keys(), *_user_infos())
    for secret in secrets:
        mixed = any(map(str.isdigit, secret)) and any(map(str.isalpha, secret))  # a placeholder is a word or a number
        if mixed and _SHORTEST_WORD <= len(secret) < _RUN:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    parts = groupby(zip(text, _shared(text, _runs_of(secrets, _RUN)), strict=True), itemgetter(1))
    text = "".join(HIDDEN if shared else "".join(map(itemgetter(0), part)) for shared, part in parts)
    return re.sub(f"{HIDDEN}{HIDDEN}+", HIDDEN, text)


def holds_key(text: str) -> bool:
    """Whether `text` holds a key or token of 8 characters or more, encoded or not, or 16 characters of one."""
    return any(_shared(text, _runs_of(tuple(_keys()), _KEY_RUN)))


def user_info_problem(name: str, address: str) -> str | None:
    """The error of an address with user info, in the setting `name`; None where it has none. Clients send user info in
    place of the key or token, and show it in their messages."""
    if not re.match(r"\w+://[^/?#]*@", address):
        return None
    return f"{name} is not a plain address: something stands before an `@` in front of its host; remove both"


def _keys() -> Iterator[str]:
    for name in _KEYS:
        yield os.environ.get(name, "").strip()
    # A process that has not loaded the Hub's client has not sent its login; `get_token` may ask the network for one.
    constants = sys.modules.get("huggingface_hub.constants")
    with suppress(OSError):  # not logged in
        yield Path(getattr(constants, "HF_TOKEN_PATH", "")).read_text(encoding="utf-8", errors="replace").strip()


def _user_infos() -> Iterator[str]:
    """User info of addresses in the environment: `user:password`, and the password alone."""
    for name, address in os.environ.items():
        match = _USER_INFO.match(address) if _ADDRESSES.fullmatch(name) else None
        for info in (match[1], unquote(match[1])) if match else ():
            yield info
            yield info.partition(":")[2]


@lru_cache(maxsize=8)
def _runs_of(secrets: tuple[str, ...], length: int) -> dict[int, set[str]]:
    """Length to all runs of that many characters in the secrets and their encodings. The length is `length`, or that of
    a shorter secret."""
    runs: dict[int, set[str]] = {}
    for form in (form for secret in secrets for form in _forms(secret) if len(form) >= _RUN):
        size = min(length, len(form))
        runs.setdefault(size, set()).update(form[at : at + size] for at in range(len(form) - size + 1))
    return runs


def _forms(secret: str) -> Iterator[str]:
    """A secret in lower case: as it is, in an address, in JSON, and in base64 at each alignment."""
    data = secret.encode("utf-8", "surrogateescape")
    yield secret.translate(_LOWER)
    yield quote(data, safe="").translate(_LOWER)
    yield json.dumps(secret)[1:-1].translate(_LOWER)
    for before in range(3):
        encoded = b64encode(bytes(before) + data).decode()
        # Without the characters that depend on the bytes around it.
        own = encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
        yield own.translate(_LOWER)
        yield own.translate(_LOWER).translate({ord("+"): "-", ord("/"): "_"})


def _shared(text: str, runs: dict[int, set[str]]) -> list[bool]:
    """For each character of `text`, whether it is part of one of these runs."""
    lower = text.translate(_LOWER)
    shared = [False] * len(lower)
    for at in range(len(lower) if runs else 0):
        for size, runs_of_size in runs.items():
            if lower[at : at + size] in runs_of_size:
                shared[at : at + size] = [True] * size
    return shared
