"""No secret is shown, however a server echoes it; what is no secret stays readable."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from stages.redaction import holds_key, redact, user_info_problem

KEY = "sk-Proj/9aZ+tR3kWq7LmN0pXv8sYb2"
TOKEN = "hf_QwErTyUiOpAsDfGhJkLzXcVbNm123456"
ECHOES = {
    "whole": "invalid key {}",
    "header": "request had Authorization: Bearer {}",
    "header in JSON": '{{"authorization": "Bearer {}"}}',
    "header as a tuple": "('Authorization', 'Bearer {}')",
    "in an address": "https://host/path?token={}&x=1",
}
ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in base64": lambda secret: b64encode(secret.encode()).decode(),
    "in base64 behind a user": lambda secret: b64encode(f"me:{secret}".encode()).decode(),
    "in base64 behind two letters": lambda secret: b64encode(f"ab{secret}cd".encode()).decode(),
    "quoted": lambda secret: quote(secret, safe=""),
    "in JSON": lambda secret: json.dumps(secret)[1:-1],
    "in capitals": str.upper,
    "cut": lambda secret: secret[:20],
    "masked in the middle": lambda secret: f"{secret[:12]}****{secret[-9:]}",
}  # fmt: skip


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def shared_run(text: str, secret: str) -> int:
    """The longest run of characters that both have, capitals aside."""
    text, secret = text.lower(), secret.lower()
    runs = (end - start for start in range(len(secret)) for end in range(start, len(secret) + 1)
            if secret[start:end] in text)  # fmt: skip
    return max(runs)


@pytest.mark.parametrize("secret", [KEY, TOKEN])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("echo", ECHOES)
def test_an_echo_of_a_secret_is_hidden(echo: str, encoding: str, secret: str) -> None:
    encoded = ENCODINGS[encoding](secret)
    shown = redact(ECHOES[echo].format(encoded))
    assert shared_run(shown, encoded) < 8, shown


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "HF_ENDPOINT", "OPENAI_BASE_URL"])
def test_the_password_of_an_address_is_hidden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://alice:pa55word@host:8080")
    encoded = b64encode(b"alice:pa55word").decode()
    shown = redact(f"cannot connect to http://alice:pa55word@host:8080 (Basic {encoded}; pa55word)")
    assert "pa55word" not in shown and encoded not in shown
    assert "host:8080" in shown


@pytest.mark.parametrize("text", [
    "the model `gpt-x` does not exist", "SELECT token FROM session WHERE key = 'abc'", "the key is not valid",
    "https://host/path?page=2", "none",
])  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("placeholder", ["x", "none", "EMPTY", "no-key", ""])
def test_a_placeholder_for_a_key_hides_nothing(placeholder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", placeholder)
    monkeypatch.delenv("HF_TOKEN")
    text = "none of the rows in this text is EMPTY; x = no-key"
    assert redact(text) == text


def test_the_login_of_the_hub_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert TOKEN not in redact(f"401 for {TOKEN}")


def test_a_completion_with_16_characters_of_the_key_holds_it_and_one_with_a_common_word_does_not() -> None:
    assert holds_key(f"SELECT '{KEY[:20]}'")
    assert holds_key(f"SELECT '{b64encode(KEY.encode()).decode()}'")
    assert not holds_key("SELECT name FROM project WHERE sk = 'proj'")


@pytest.mark.parametrize("address", ["https://me:secret@host/v1", "http://token@host", "https://a:b@[::1]:80/"])
def test_user_info_in_an_address_is_refused_without_being_shown(address: str) -> None:
    problem = user_info_problem("HF_ENDPOINT", address)
    assert problem and problem.startswith("HF_ENDPOINT is not a plain address") and "secret" not in problem


@pytest.mark.parametrize("address", ["https://host/v1", "https://host/a@b", "http://host?x=a@b", "https://host#a@b"])
def test_an_at_sign_behind_the_host_is_no_user_info(address: str) -> None:
    assert user_info_problem("HF_ENDPOINT", address) is None
