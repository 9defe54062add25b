"""No form of a secret is left in a text, and other text stays as it is."""

import json
from base64 import b64encode, urlsafe_b64encode
from difflib import SequenceMatcher
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.redaction import holds_key, redact, user_info_problem

KEY = "sk-Proj+4f/Vb9xQ2mLr8TzK1wYc"
LOGIN = "hf_LoginOfThisMachineOnly42"
PROXY = "proxy user:pa55&word/of-proxy"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("https_proxy", f"http://{quote(PROXY, safe=':')}@proxy.example:3128")
    (tmp_path / "token").write_text(f"{LOGIN}\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))


def longest_shared(text: str, secret: str) -> int:
    """Characters of the longest part of `secret` that is in `text`, in whatever case."""
    text, secret = text.lower(), secret.lower()
    match = SequenceMatcher(a=text, b=secret, autojunk=False).find_longest_match()
    return match.size


ECHOES = {
    "as it is": KEY,
    "in a header": f"{{'Authorization': 'Bearer {KEY}'}}",
    "in upper case": KEY.upper(),
    "in an address": quote(KEY, safe=""),
    "in JSON within JSON": json.dumps(json.dumps({"key": KEY})),
    "cut": KEY[:20],
    "without its beginning": KEY[5:],
    "masked in the middle": f"{KEY[:10]}**********{KEY[-9:]}",
    "over two lines": f"{KEY[:12]}\n {KEY[12:]}",
    "next to other letters": f"x{KEY}x",
    "twice": f"{KEY}{KEY}",
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_a_key_is_hidden_in_every_form_that_a_server_echoes(echo: str) -> None:
    shown = redact(f"refused: {echo} is not known")
    assert longest_shared(shown, KEY) < 8 and longest_shared(shown, quote(KEY, safe="")) < 8
    assert shown.startswith("refused: ") and shown.endswith(" is not known")


@pytest.mark.parametrize("secret", [KEY, LOGIN, PROXY, PROXY.partition(":")[2]])
@pytest.mark.parametrize("before", ["", "a", "ab", "user:", "Bearer "])
@pytest.mark.parametrize("after", ["", "\r\n"])
def test_base64_of_a_secret_is_hidden_wherever_it_begins(secret: str, before: str, after: str) -> None:
    data = f"{before}{secret}{after}".encode()
    for encoded in (b64encode(data).decode(), urlsafe_b64encode(data).decode()):
        assert longest_shared(redact(f"echo of the header {encoded}."), encoded) < 12


@given(
    before=st.text(alphabet="ab .:\n", max_size=5),
    start=st.integers(0, len(KEY) - 8),
    size=st.integers(8, len(KEY)),
    after=st.text(alphabet="ab .:\n", max_size=5),
)
def test_every_run_of_eight_characters_of_a_key_is_hidden(before: str, start: int, size: int, after: str) -> None:
    assert longest_shared(redact(f"{before}{KEY[start : start + size]}{after}"), KEY) < 8


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET http://alice:pw@host/v1 failed", "GET http://…@host/v1 failed"),
        ("socks5://t0ken@host:99", "socks5://…@host:99"),
        ("https://host/f?X-Amz-Date=1&X-Amz-Signature=ab12&x=1", "https://host/f?X-Amz-Date=1&X-Amz-Signature=…&x=1"),
        ("url: /f?Expires=9&Signature=a~b-c_&Key-Pair-Id=K1 (by", "url: /f?Expires=9&Signature=…&Key-Pair-Id=… (by"),
        ("https://host/f?sv=1&sig=a%2Fb", "https://host/f?sv=1&sig=…"),
        ("https://host/f?access_token=abc", "https://host/f?access_token=…"),
        ("/?next=%2Ff%3Ftoken%3Dabc", "/?next=%2Ff%3Ftoken%3D…"),
        ("Authorization: Basic YTpi, Host: h", "Authorization: Basic …, Host: h"),
        (r'{\"authorization\": \"Bearer short\"}', r'{\"authorization\": \"Bearer …\"}'),
        ("(b'Proxy-Authorization', b'Basic YTpi')", "(b'Proxy-Authorization', b'Basic …')"),
        ("api-key: 12, x: 1", "api-key: …, x: 1"),
        ("sent Bearer eyJhbGciOiJub25lIn0.eyJhIjoxfQ. to", "sent Bearer … to"),
    ],
)  # fmt: skip
def test_what_is_a_secret_by_its_place_is_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize("key", ["x", "none", "EMPTY", "dummy", "1234", "", "no-key"])
def test_a_placeholder_hides_nothing(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    text = f"none of 1234 EMPTY dummy no-key examples, x: {key}"
    assert redact(text) == text
    assert not holds_key(f"SELECT x FROM {key}")


def test_a_short_password_of_letters_and_digits_is_hidden_as_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3cret@proxy:1")
    assert redact("the password s3cret is wrong, s3crets are not") == "the password … is wrong, s3crets are not"


@pytest.mark.parametrize(
    "text",
    [
        "The model `gpt-5` does not exist or you do not have access to it.",
        "Incorrect API key provided. You can find your API key at https://platform.example.com/account/api-keys.",
        "https://host/datasets/a/b/resolve/main/x.zip?download=true answered with HTTP status 403",
        "no basic authentication, no bearer authorization; mail someone@example.org",
        "SELECT key, token FROM policy WHERE signature = 'a' AND auth = 1",
    ],
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (f"SELECT '{KEY}'", True), (f"-- {KEY[:16]}", True), (b64encode(f"Bearer {KEY}".encode()).decode(), True),
        (LOGIN, True), ("SELECT 1", False), (f"-- {KEY[:15]}", False),
    ],
)  # fmt: skip
def test_a_completion_holds_a_key_if_it_shares_sixteen_characters_with_it(text: str, holds: bool) -> None:
    assert holds_key(text) == holds


@pytest.mark.parametrize("address", ["https://key@host/v1", "http://user:pass@host", "http://:p@host/", "http://@host"])
def test_user_info_in_an_address_is_a_problem_that_does_not_show_it(address: str) -> None:
    problem = user_info_problem("HF_ENDPOINT", address)
    assert problem and problem.startswith("HF_ENDPOINT is not a plain address") and "pass" not in problem


@pytest.mark.parametrize("address", ["https://host/v1", "http://host:80/a@b", "https://host?a@b"])
def test_an_address_without_user_info_is_none(address: str) -> None:
    assert user_info_problem("HF_ENDPOINT", address) is None
