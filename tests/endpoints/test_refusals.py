"""The errors of endpoints. The cases are in tests/fixtures/endpoints."""

import json

import pytest

from stages.endpoints.refusals import left_out_reason, message_of
from tests import FIXTURES

FOLDER = FIXTURES / "endpoints"
REFUSALS = json.loads((FOLDER / "refusals.json").read_text(encoding="utf-8"))
MESSAGES = json.loads((FOLDER / "messages.json").read_text(encoding="utf-8"))
KEY = "sk-secret-of-this-test"


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case['of']}, {case['status']}")
def test_a_refusal_is_of_the_question_for_a_known_reason_or_not_of_the_question(case: dict[str, object]) -> None:
    text = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
    assert left_out_reason(int(str(case["status"])), text) == case["reason"]


def test_a_prompt_that_is_echoed_gives_no_reason() -> None:
    mistake = {"loc": ["body", "model"], "msg": "no such model", "input": "Which prompts did the content filter block?"}
    assert left_out_reason(422, json.dumps({"detail": [mistake]})) is None


@pytest.mark.parametrize("case", MESSAGES, ids=lambda case: case["of"])
def test_the_words_for_a_person_are_found_in_the_body_of_an_error(case: dict[str, str]) -> None:
    assert message_of(case["body"]) == case["message"]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"detail": [{"loc": ["header"], "msg": f"Bearer {KEY} is wrong"}]}), json.dumps(f"no, {KEY}"),
        f"<title>no, {KEY}</title>", f"<html><b>no</b>, {KEY}", json.dumps({"error": {"message": "x" * 280 + KEY}}),
        json.dumps({"error": {"message": "no", "metadata": {"raw": f"with {KEY}"}}}),
    ],
)  # fmt: skip
def test_the_key_is_not_shown_whatever_the_form(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "…" in message_of(body) and "secret" not in message_of(body)


NESTED = [start * 940 + '"no"' + end * 940 for start, end in (("[", "]"), ('{"error":', "}"))]


@pytest.mark.parametrize("body", [*NESTED, "[" * 200_000, "9" * 10_000, "<" * 20_000, "x" * 10**6])
def test_a_body_that_is_no_error_is_shown_in_short(body: str) -> None:
    assert 0 < len(message_of(body)) <= 300
    assert left_out_reason(400, body) is None
