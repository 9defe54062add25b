"""No unusual response stops a run that is paid for: its question is left out, or its request takes another form."""

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.endpoints import bounded_responses, client
from stages.endpoints.rate_limiter import parse_retry_after
from stages.endpoints.responses import completions_of, parse_response
from stages.lm.completions import Completion, sample_all
from stages.sampling.seeds import first_seed
from tests import FIXTURES
from tests.fake_endpoint import DECODING, KEY, QUESTIONS, Endpoint, Fault, Opens

FOLDER = FIXTURES / "endpoints"
ANSWERS = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))
FORMS = json.loads((FOLDER / "forms.json").read_text(encoding="utf-8"))
FILTERED = {"error": {"message": "The response was filtered", "code": "content_filter"}}
UNKNOWN = {"error": {"message": "not this one", "type": "invalid_request_error"}}
BAD_MODEL = {"error": {"message": "no such model: weak", "code": "model_not_found"}}
Refuse = Callable[[dict[str, Any]], Fault | None]


def refusing(body: object, *numbers: int, status: int = 400) -> Refuse:
    """Refuses the questions with these numbers."""
    prompts = [QUESTIONS[number].prompt for number in numbers]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda request: (status, {}, data) if request["prompt"] in prompts else None


def answer_of(text: str) -> bytes:
    return json.dumps({"choices": [{"text": text, "finish_reason": "stop"}]}).encode()


def test_a_filtered_question_has_no_completions_and_all_others_have(
    endpoint: Endpoint, opens: Opens, tmp_path: Path
) -> None:
    endpoint.refuse = refusing(FILTERED, 1)
    cache = Cache(tmp_path / "cache")
    for expected in (6, 1):  # a later run requests the refused question alone, and does not stop at it
        before, engine = len(endpoint.requests), opens()
        ((_, rows),) = sample_all(engine, QUESTIONS, DECODING, cache)
        assert [len(row) for row in rows] == [2, 0, 2, 2, 2, 2]
        assert engine.left_out == {"demo/train/0001": "filtered"}
        assert len(endpoint.requests) - before == expected


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (FILTERED, 400, "filtered"), ({"detail": "prompt is too long"}, 422, "longer_than_context"),
        (UNKNOWN, 400, "refused"), (UNKNOWN, 422, "refused"), (FILTERED, 200, "filtered"),
        ({"choices": []}, 200, "no_answer"), ({"choices": None}, 200, "no_answer"), ({}, 200, "no_answer"),
        ({"choices": [{"message": None}]}, 200, "no_answer"), (b"<html>", 200, "no_answer"),
        ({"detail": "a defect"}, 500, "no_answer"), ({"promptFeedback": {"blockReason": "SAFETY"}}, 200, "filtered"),
        ({"error": {"message": "prompt is too long"}, "choices": []}, 200, "longer_than_context"),
    ],
)  # fmt: skip
def test_the_reason_why_a_question_is_left_out_is_reported(
    body: object, status: int, reason: str, endpoint: Endpoint, opens: Opens, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.refuse = refusing(body, 4, status=status)
    engine = opens()
    assert [len(row) for row in engine.sample(QUESTIONS, DECODING, 0, 2)] == [2, 2, 2, 2, 0, 2]
    assert engine.left_out == {"demo/train/0004": reason}
    assert f"demo/train/0004 is left out as {reason} (it answers" in capsys.readouterr().err


def test_an_unexplained_refusal_of_a_question_does_not_stop_a_later_run(
    endpoint: Endpoint, opens: Opens, tmp_path: Path
) -> None:
    endpoint.refuse = refusing(UNKNOWN, 0)
    cache = Cache(tmp_path / "cache")
    for _ in range(2):
        ((_, rows),) = sample_all(opens(), QUESTIONS, DECODING, cache)
        assert [len(row) for row in rows] == [0, 2, 2, 2, 2, 2]


def test_a_refusal_of_all_questions_ends_the_run_after_a_few(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")
    endpoint.refuse = refusing(BAD_MODEL, *range(6))
    with pytest.raises(UserError, match=r"refuses to be asked for `weak` \(it answers 400: no such model: weak"):
        opens().sample(QUESTIONS, DECODING, 0, 2)
    assert len(endpoint.requests) == 3


def test_consecutive_refusals_stop_a_run_that_had_completions_before(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")
    engine = opens()
    engine.sample(QUESTIONS[:1], DECODING, 0, 2)
    endpoint.refuse = refusing(UNKNOWN, 1)
    questions = [replace(QUESTIONS[1], question_id=f"demo/train/1{number:03}") for number in range(20)]
    with pytest.raises(UserError, match="not this one"):
        engine.sample(questions, DECODING, 0, 2)
    assert len(endpoint.requests) == 11


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "Incorrect API key"), (403, "Forbidden"), (400, "API key not valid"), (400, "Your credit balance is low")],
)
def test_a_key_or_account_that_is_refused_ends_the_run_though_questions_were_answered(
    status: int, message: str, endpoint: Endpoint, opens: Opens
) -> None:
    endpoint.then = {3: (status, {}, json.dumps({"error": {"message": f"{message}: {KEY}"}}).encode())}
    with pytest.raises(UserError, match=message) as caught:
        opens().sample(QUESTIONS, DECODING, 0, 2)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case["of"])
def test_an_unusual_response_is_a_completion(case: dict[str, Any]) -> None:
    (sample,) = completions_of(parse_response(json.dumps(case["body"])))
    text, reason, tokens = case["sample"]
    assert sample == Completion(text, reason, tokens, None)


def test_responses_without_usage_are_counted_and_the_cost_is_unknown(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.faults = [(200, {}, answer_of("SELECT 1"))]
    engine = opens()
    engine.sample(QUESTIONS, DECODING, 0, 1)
    report = engine.report()["endpoint"]
    assert (report["without_usage"], report["prompt_tokens"], report["cost"]) == (1, 50, None)


@pytest.mark.parametrize("case", FORMS, ids=lambda case: case["of"])
def test_a_rejected_field_is_sent_differently(
    case: dict[str, Any], endpoint: Endpoint, opens: Opens, capsys: pytest.CaptureFixture[str]
) -> None:
    takes = case["takes"]

    def refuse(body: dict[str, Any]) -> Fault | None:
        is_rejected = takes.get("without") in body or body.get("n", 1) > takes.get("most", 1000)
        return (case["status"], {}, json.dumps(case["body"]).encode()) if is_rejected else None

    endpoint.refuse = refuse
    decoding = replace(DECODING, n=200, temperature=1.0, top_p=1.0)
    row, other = opens().sample(QUESTIONS[:2], decoding, 0, 200)
    assert len(row) == len(other) == 200
    assert "endpoint: " in capsys.readouterr().err
    if takes.get("without") not in ("seed", "n"):
        seed = first_seed(3, QUESTIONS[0].question_id)
        assert [sample.completion for sample in row] == [f"SELECT {seed + number}" for number in range(200)]
    if takes.get("without") == "max_tokens":
        assert endpoint.requests[-1]["max_completion_tokens"] == 16


def test_a_rejected_field_is_sent_once(endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")
    refusal: Fault = (400, {}, b'{"error": {"message": "unknown field: seed"}}')
    endpoint.refuse = lambda body: refusal if "seed" in body else None
    opens().sample(QUESTIONS, DECODING, 0, 2)
    assert ["seed" in body for body in endpoint.requests] == [True] + [False] * 6


def test_a_refusal_that_quotes_a_question_does_not_adapt_the_form(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.refuse = refusing({"error": {"message": "flagged by our content filter: 'temperature' of n rivers"}}, 1)
    opens().sample(QUESTIONS, replace(DECODING, temperature=1.0), 0, 2)
    assert {(body["n"], body["temperature"]) for body in endpoint.requests} == {(2, 1.0)}


def test_a_request_has_at_most_the_samples_that_its_file_allows(endpoint: Endpoint, opens: Opens) -> None:
    (row,) = opens(samples_per_request=3).sample(QUESTIONS[:1], DECODING, 0, 7)
    seed = first_seed(3, QUESTIONS[0].question_id)
    assert [(body["n"], body["seed"] - seed) for body in endpoint.requests] == [(3, 0), (3, 3), (1, 6)]
    assert [sample.completion for sample in row] == [f"SELECT {seed + number}" for number in range(7)]


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ("temperature", "set `candidates.temperature`"), ("top_p", "set `candidates.top_p`"),
        ("logprobs", "set `logprobs` to false"), ("max_tokens", "lower `candidates.max_tokens`"),
    ],
)  # fmt: skip
def test_a_rejected_field_that_cannot_be_sent_differently_is_reported_with_a_fix(
    field: str, fix: str, endpoint: Endpoint, opens: Opens
) -> None:
    message = json.dumps({"error": {"message": f"Unsupported value: '{field}'", "param": field}}).encode()
    endpoint.refuse = lambda body: (400, {}, message) if field in body else None
    with pytest.raises(UserError, match=f"Unsupported value: '{field}'.*{fix}"):
        opens().sample(QUESTIONS[:1], DECODING, 0, 2)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7), ("0", 0), ("1e9", 120), ("inf", 120), ("nan", None), ("-5", None), ("-inf", None), ("tomorrow", None),
        ("", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 120),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None), ("9" * 5000, 120), ("Thu, 32 Jan 2026 00:00:00 +9999", None),
    ],
)  # fmt: skip
def test_retry_after_is_bounded(header: str, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = parse_retry_after(later)
    assert seconds is not None and 30 < seconds <= 60


@pytest.mark.parametrize("header", ["nan", "-1", "-inf", "garbage"])
def test_an_invalid_retry_after_does_not_stop_a_run(header: str, endpoint: Endpoint, opens: Opens) -> None:
    endpoint.faults = [(429, {"Retry-After": header}, b"{}")]
    assert [len(row) for row in opens().sample(QUESTIONS, DECODING, 0, 2)] == [2] * 6


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_response_is_read(
    encoding: str, pack: Callable[[bytes], bytes], endpoint: Endpoint, opens: Opens
) -> None:
    endpoint.faults = [(200, {"Content-Encoding": encoding}, pack(answer_of("SELECT 1")))]
    ((sample,),) = opens().sample(QUESTIONS[:1], DECODING, 0, 1)
    assert sample.completion == "SELECT 1"


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    ("headers", "data", "words"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * 2**27), "its answer is larger than 32 MiB"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b'{"choices": [' + b"[]," * 2**24), "larger than 32 MiB"),
        ({}, b" " * (2**25 + 1), "its answer is larger than 32 MiB"),
        ({"Content-Encoding": "gzip"}, b"{}", "its answer is not packed as `gzip`, as it says"),
        ({"Content-Encoding": "gzip, gzip"}, gzip.compress(gzip.compress(b"{}")), "packed as `gzip, gzip`"),
        ({"Content-Encoding": "br"}, b"{}", "its answer is packed as `br`, which was not asked for"),
    ],
    ids=["bomb", "bomb of JSON", "large", "damaged", "twice", "otherwise"],
)  # fmt: skip
def test_a_question_with_a_too_large_or_badly_packed_response_is_left_out(
    status: int, headers: dict[str, str], data: bytes, words: str, endpoint: Endpoint, opens: Opens,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(client, "RETRY_DELAYS", (0.0,))
    endpoint.refuse = lambda body: (status, headers, data) if body["prompt"] == QUESTIONS[2].prompt else None
    engine = opens()
    assert [len(row) for row in engine.sample(QUESTIONS, DECODING, 0, 2)] == [2, 2, 0, 2, 2, 2]
    assert engine.left_out == {"demo/train/0002": "no_answer"} and words in capsys.readouterr().err


def test_an_endless_response_is_cut_off(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bounded_responses, "MAX_BYTES", 2**20)
    endless = {"Content-Length": str(2**40)}
    endpoint.refuse = lambda body: (200, endless, b" " * 2**22) if body["prompt"] == QUESTIONS[2].prompt else None
    assert [len(row) for row in opens().sample(QUESTIONS, DECODING, 0, 2)] == [2, 2, 0, 2, 2, 2]
    assert "its answer is larger than 1 MiB" in capsys.readouterr().err


def test_a_question_whose_response_does_not_end_in_time_is_left_out(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RESPONSE_TIMEOUT", 0.2)
    monkeypatch.setattr(client, "RETRY_DELAYS", ())
    engine = opens()
    engine.sample(QUESTIONS[:1], DECODING, 0, 2)
    endpoint.pause = 1.0
    assert engine.sample(QUESTIONS[1:2], DECODING, 0, 2) == [[]]
    assert engine.left_out == {"demo/train/0001": "no_answer"}


def test_an_unknown_charset_does_not_stop_a_run(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.faults = [(200, {"Content-Type": "text/plain; charset=rot13"}, answer_of("SELECT 1"))]
    ((sample,),) = opens().sample(QUESTIONS[:1], DECODING, 0, 1)
    assert sample.completion == "SELECT 1"
