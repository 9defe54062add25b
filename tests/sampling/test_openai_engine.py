"""The engine `openai`: what it requests, caches and counts."""

import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.endpoints import client
from stages.endpoints.responses import Response, parse_response
from stages.lm.completions import Completion, Decoding, PromptedQuestion, sample_all
from stages.sampling.openai_engine import OpenaiEngine
from stages.sampling.seeds import first_seed
from tests import ROOT
from tests.cached import records_in
from tests.fake_endpoint import DECODING, KEY, QUESTIONS, Endpoint, Fault, Opens


def error_of(engine: OpenaiEngine, questions: list[PromptedQuestion] = QUESTIONS) -> str:
    with pytest.raises(UserError) as caught:
        engine.sample(questions, DECODING, 0, 2)
    (message,) = caught.value.sentences
    assert KEY not in message
    return message


@pytest.mark.parametrize(("api", "tokens", "logprob"), [("completions", 2, -1.0), ("chat", 3, -0.75)])
def test_each_sample_is_a_choice_with_its_own_seed(
    endpoint: Endpoint, opens: Opens, api: str, tokens: int, logprob: float
) -> None:
    rows = opens(api=api).sample(QUESTIONS, DECODING, 4, 2)
    for question, row in zip(QUESTIONS, rows, strict=True):
        seed = first_seed(3, question.question_id)
        assert row == [Completion(f"SELECT {seed + number}", "stop", tokens, logprob) for number in (4, 5)]
    assert {(body["n"], body["temperature"], body["top_p"], body["max_tokens"]) for body in endpoint.requests} == {
        (2, 0.7, 0.9, 16)
    }
    prompts = [body["messages"][0]["content"] if api == "chat" else body["prompt"] for body in endpoint.requests]
    assert sorted(prompts) == [question.prompt for question in QUESTIONS]
    assert endpoint.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "fault",
    [
        (429, {"Retry-After": "0"}, b"{}"), (429, {"Retry-After": "tomorrow"}, b"{}"), (500, {}, b"<html>"),
        (503, {}, b""), (200, {}, b'{"choices": [{"te'), (200, {}, b""), (200, {}, b"[]"),
        (200, {}, b'{"choices": []}'), (200, {}, b'{"choices": [null]}'), (200, {}, b'{"choices": [{}]}'),
        (200, {}, b'{"choices": "SELECT"}'), (200, {}, b'{"choices": [{"text": 5}]}'),
        (200, {}, b'{"choices": null}'), (200, {}, b'{"choices": [{"message": null}]}'), (200, {}, b"9" * 5000),
        (200, {}, b'{"choices": [{"text": "", "error": {"message": "overloaded"}, "finish_reason": "error"}]}'),
        (200, {}, b"[" * 200_000), (200, {}, b'{"choices":' * 200_000), (500, {}, b'{"error":' * 200_000),
        (200, {}, b'{"error": {"message": "overloaded"}}'), (200, {"Content-Length": "99"}, b'{"choices"'),
        (0, {}, b""),
    ],
)  # fmt: skip
def test_a_transient_error_is_retried(endpoint: Endpoint, opens: Opens, fault: Fault) -> None:
    endpoint.faults = [fault, fault]
    engine = opens()
    assert [len(row) for row in engine.sample(QUESTIONS, DECODING, 0, 2)] == [2] * 6
    assert (engine.state.counts["requests"], engine.state.counts["retries"]) == (8, 2)


@pytest.mark.parametrize("fault", [(500, {}, b"out of order " + KEY.encode()), (200, {}, b"{"), (0, {}, b"")])
def test_an_endpoint_that_goes_on_failing_is_reported(endpoint: Endpoint, opens: Opens, fault: Fault) -> None:
    endpoint.faults = [fault] * 100
    message = error_of(opens(), QUESTIONS[:1])
    assert message.startswith("the endpoint gave no answer in 4 tries (") and "earlier answers are kept" in message
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_reported_and_not_retried(endpoint: Endpoint, opens: Opens, status: int) -> None:
    endpoint.faults = [(status, {}, json.dumps({"error": {"message": f"no, {KEY}"}}).encode())]
    message = error_of(opens(), QUESTIONS[:1])
    assert message.startswith("the endpoint refuses to be asked for `weak` (it answers") and str(status) in message
    assert len(endpoint.requests) == 1


def test_an_exhausted_quota_is_not_retried(endpoint: Endpoint, opens: Opens) -> None:
    words = b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    endpoint.faults = [(429, {}, words)]
    assert "exceeded your quota" in error_of(opens(), QUESTIONS[:1])
    assert len(endpoint.requests) == 1


def test_an_error_in_place_of_a_completion_is_reported(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.faults = [(200, {}, b'{"error": {"message": "overloaded, ' + KEY.encode() + b'"}}')] * 4
    assert "it answers an error: overloaded, …)" in error_of(opens(), QUESTIONS[:1])


def test_an_unreachable_endpoint_is_reported(endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert "no answer: All connection attempts failed" in error_of(opens(), QUESTIONS[:1])


def test_retry_after_is_respected(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.faults = [(429, {"Retry-After": "0.3"}, b"{}")]
    opens().sample(QUESTIONS[:1], DECODING, 0, 2)
    assert endpoint.times[1] - endpoint.times[0] >= 0.3


def test_retry_after_holds_back_other_requests_too(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")
    endpoint.faults = [(429, {"Retry-After": "0.3"}, b"{}")]
    opens().sample(QUESTIONS, DECODING, 0, 1)
    assert endpoint.times[1] - endpoint.times[0] >= 0.3


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 4096 tokens", "the request exceeds the available context size",
        "prompt is too long: 200001 tokens > 200000 maximum", "`inputs` tokens + `max_new_tokens` must be <= 4096",
    ],
)  # fmt: skip
def test_a_prompt_that_is_too_long_has_no_samples(endpoint: Endpoint, opens: Opens, words: str) -> None:
    endpoint.faults = [(400, {}, json.dumps({"error": {"message": words}}).encode())]
    assert [len(row) for row in opens().sample(QUESTIONS[:1], DECODING, 0, 2)] == [0]


def test_missing_choices_are_requested_with_the_next_seeds(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.choices = 2
    (row,) = opens().sample(QUESTIONS[:1], DECODING, 0, 5)
    seed = first_seed(3, QUESTIONS[0].question_id)
    assert [sample.completion for sample in row] == [f"SELECT {seed + number}" for number in range(5)]
    assert [body["n"] for body in endpoint.requests] == [5, 3, 1]


@pytest.mark.parametrize(
    ("reason", "expected"), [("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "other")]
)
def test_an_empty_completion_is_kept_with_its_finish_reason(
    endpoint: Endpoint, opens: Opens, reason: str, expected: str
) -> None:
    endpoint.text, endpoint.reason = "", reason
    (row,) = opens(logprobs=False).sample(QUESTIONS[:1], DECODING, 0, 1)
    assert row == [Completion("", expected, 4, None)]


@pytest.mark.parametrize("scores", ["null, -1.0", "-9999.0, -1.0", "NaN, -1.0"])
def test_a_log_probability_is_unknown_where_that_of_a_token_is(endpoint: Endpoint, opens: Opens, scores: str) -> None:
    answer = f'{{"choices": [{{"text": "a", "finish_reason": "stop", "logprobs": {{"token_logprobs": [{scores}]}}}}]}}'
    endpoint.faults = [(200, {}, answer.encode())]
    assert opens().sample(QUESTIONS[:1], DECODING, 0, 1) == [[Completion("a", "stop", 2, None)]]


def test_half_a_surrogate_pair_becomes_a_replacement_character(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.faults = [(200, {}, rb'{"choices": [{"text": "\ud83d\ude00 \ud83d", "finish_reason": "length"}]}')]
    (row,) = opens().sample(QUESTIONS[:1], DECODING, 0, 1)
    assert row[0].completion == "😀 \ufffd"


def test_the_cost_is_reported_and_the_key_is_not(
    endpoint: Endpoint, opens: Opens, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = opens()
    engine.sample(QUESTIONS, DECODING, 0, 2)
    tokens = {"prompt_tokens": 60, "completion_tokens": 48, "without_usage": 0}
    expected = {"requests": 6, "retries": 0, **tokens, "cost": 0.000504}  # 60 x 2 and 48 x 8, of a million
    assert engine.report() == {"endpoint": expected}
    output = capsys.readouterr()
    assert "cost 0.000504" in output.err and KEY not in output.err + output.out
    assert opens(input_price=None).report()["endpoint"]["cost"] is None


def test_concurrent_requests_are_limited(endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "3")
    endpoint.pause = 0.05
    opens().sample(QUESTIONS, DECODING, 0, 1)
    assert endpoint.busiest == 3


def test_requests_a_minute_are_limited(endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_OPENAI_REQUESTS_PER_MINUTE", "600")
    start = time.monotonic()
    opens().sample(QUESTIONS, DECODING, 0, 1)
    assert time.monotonic() - start >= 0.1 * (len(QUESTIONS) - 1)


def test_the_limit_a_minute_holds_across_batches(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_REQUESTS_PER_MINUTE", "300")
    start, engine = time.monotonic(), opens()
    for question in QUESTIONS[:3]:
        engine.sample([question], DECODING, 0, 1)
    assert time.monotonic() - start >= 2 * 0.2


def test_completions_before_a_failure_are_cached(
    endpoint: Endpoint, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "2")  # one batch of 8
    last = QUESTIONS[-1].prompt
    endpoint.refuse = lambda body: (503, {}, b"{}") if body["prompt"] == last else None
    cache = Cache(tmp_path / "cache")
    with pytest.raises(UserError, match="earlier answers are kept"):
        list(sample_all(opens(), QUESTIONS, DECODING, cache))
    endpoint.refuse = lambda body: None
    before = len(endpoint.requests)
    list(sample_all(opens(), QUESTIONS, DECODING, cache))
    assert [body["prompt"] for body in endpoint.requests[before:]] == [last]


EIGHT = replace(DECODING, n=8)


def test_a_completion_is_cached_though_its_question_lacks_others(
    endpoint: Endpoint, opens: Opens, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache")
    endpoint.choices, endpoint.then = 1, {20: (401, {}, b"{}")}
    with pytest.raises(UserError, match="refuses"):
        list(sample_all(opens(), QUESTIONS, EIGHT, cache))
    saved = len(records_in(cache.file.parent))
    assert saved >= 20
    before = len(endpoint.requests)
    ((_, rows),) = sample_all(opens(), QUESTIONS, EIGHT, cache)
    for question, row in zip(QUESTIONS, rows, strict=True):
        seed = first_seed(3, question.question_id)
        assert [sample.completion for sample in row] == [f"SELECT {seed + number}" for number in range(8)]
    assert len(endpoint.requests) - before == 48 - saved


def test_a_completion_is_cached_when_it_arrives(
    endpoint: Endpoint, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "2")
    cache, real, saved_before, records_put = Cache(tmp_path / "cache"), endpoint.answer, list[int](), list[object]()
    put = cache.put

    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        # Not `records_in`: a second SQLite library beside a writing one can end a process.
        saved_before.append(len(records_put))
        return real(path, body)

    def counted_put(records: Iterable[tuple[bytes, Any]]) -> None:
        records = list(records)
        put(records)
        records_put.extend(records)

    monkeypatch.setattr(endpoint, "answer", answer)
    monkeypatch.setattr(cache, "put", counted_put)
    list(sample_all(opens(), QUESTIONS, DECODING, cache))
    assert saved_before[-1] >= 8  # all but the two questions that are being asked


@pytest.mark.usefixtures("heeded_interrupts")
def test_completions_before_an_interrupt_are_cached(
    endpoint: Endpoint, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")
    cache, real = Cache(tmp_path / "cache"), endpoint.answer

    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if len(endpoint.requests) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        return real(path, body)

    monkeypatch.setattr(endpoint, "answer", answer)
    with pytest.raises(KeyboardInterrupt):
        list(sample_all(opens(), QUESTIONS, DECODING, cache))
    assert (len(records_in(cache.file.parent)), len(endpoint.requests)) == (6, 4)


def test_completions_before_any_error_are_cached(
    endpoint: Endpoint, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")
    cache = Cache(tmp_path / "cache")

    def read(text: str) -> Response:
        if len(endpoint.requests) == 4:
            raise ZeroDivisionError
        return parse_response(text)

    monkeypatch.setattr(client, "parse_response", read)
    with pytest.raises(ZeroDivisionError):
        list(sample_all(opens(), QUESTIONS, DECODING, cache))
    assert (len(records_in(cache.file.parent)), len(endpoint.requests)) == (6, 4)


def test_after_a_refusal_requests_in_flight_end_and_no_other_starts(
    endpoint: Endpoint, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "3")
    cache, real = Cache(tmp_path / "cache"), endpoint.answer
    endpoint.then = {2: (401, {}, b"{}")}

    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.3)
        return real(path, body)

    monkeypatch.setattr(endpoint, "answer", answer)
    with pytest.raises(UserError, match="refuses"):
        list(sample_all(opens(), QUESTIONS, DECODING, cache))
    assert (len(records_in(cache.file.parent)), len(endpoint.requests)) == (4, 3)


def test_cached_completions_are_not_requested_again(endpoint: Endpoint, opens: Opens, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    rows = list(sample_all(opens(), QUESTIONS, DECODING, cache))
    before = len(endpoint.requests)
    assert list(sample_all(opens(), QUESTIONS, DECODING, cache)) == rows and len(endpoint.requests) == before
    more = Decoding(n=3, temperature=0.7, top_p=0.9, max_tokens=16, seed=3)
    list(sample_all(opens(), [*QUESTIONS, PromptedQuestion("demo/train/0009", "db", "new")], more, cache))
    assert sorted(body["n"] for body in endpoint.requests[before:]) == [1] * 6 + [3]


def test_every_mistake_in_file_and_environment_is_reported(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "none")
    with pytest.raises(UserError) as caught:
        opens(api="rest", input_price=-1.0)
    messages = [
        sentence.split(" ", 1)[1] if "own.yaml" in sentence else sentence for sentence in caught.value.sentences
    ]
    assert [sentence.split(" is ")[0] for sentence in messages] == [
        "`endpoint.api`", "`endpoint.input_price`", "OPENAI_BASE_URL", "OPENAI_API_KEY", "SENSE_OPENAI_CONCURRENCY"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "localhost:8000/v1"), ("OPENAI_BASE_URL", "ftp://user:pass-word@host/v1"),
        ("OPENAI_BASE_URL", "http://["), ("OPENAI_BASE_URL", "http://127.0.0.1:99999/v1"),
        ("OPENAI_BASE_URL", "http://host:port/v1"), ("OPENAI_BASE_URL", "http://host:0/v1"),
        ("OPENAI_BASE_URL", "http://999.1.1.1/v1"), ("OPENAI_BASE_URL", "http://the host/v1"),
        ("OPENAI_BASE_URL", "http://host/v1\n"), ("OPENAI_BASE_URL", "http://host/v1?key=pass-word"),
        ("OPENAI_API_KEY", f"{KEY}\n"), ("OPENAI_API_KEY", f"{KEY}é"),
    ],
)  # fmt: skip
def test_an_invalid_address_or_key_is_reported_and_not_shown(
    name: str, value: str, endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        opens()
    (message,) = caught.value.sentences
    assert message.startswith(f"{name} is not") and KEY not in message and "pass-word" not in message


def test_the_example_endpoint_file_is_valid(endpoint: Endpoint) -> None:
    assert OpenaiEngine(ROOT / "models/endpoints/example.yaml").name == "deepseek-coder-1.3b-base"
