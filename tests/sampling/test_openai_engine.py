"""The engine `openai`: what it asks, keeps and counts."""

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
from stages.endpoints import client as asking_endpoint
from stages.endpoints.responses import Answer, read_answer
from stages.lm.completions import Ask, Decoding, Sample, sample_all
from stages.sampling.openai_engine import OpenaiEngine
from stages.sampling.seeds import first_seed
from tests import ROOT
from tests.cached import records_in
from tests.fake_endpoint import ASKS, DECODING, KEY, Endpoint, Fault, Opens


def told_by(engine: OpenaiEngine, asks: list[Ask] = ASKS) -> str:
    with pytest.raises(UserError) as caught:
        engine.sample(asks, DECODING, 0, 2)
    (told,) = caught.value.sentences
    assert KEY not in told
    return told


@pytest.mark.parametrize(("api", "tokens", "logprob"), [("completions", 2, -1.0), ("chat", 3, -0.75)])
def test_each_sample_is_a_choice_with_its_own_seed(
    endpoint: Endpoint, opens: Opens, api: str, tokens: int, logprob: float
) -> None:
    rows = opens(api=api).sample(ASKS, DECODING, 4, 2)
    for ask, row in zip(ASKS, rows, strict=True):
        seed = first_seed(3, ask.question_id)
        assert row == [Sample(f"SELECT {seed + number}", "stop", tokens, logprob) for number in (4, 5)]
    assert {(body["n"], body["temperature"], body["top_p"], body["max_tokens"]) for body in endpoint.asked} == {
        (2, 0.7, 0.9, 16)
    }
    asked = [body["messages"][0]["content"] if api == "chat" else body["prompt"] for body in endpoint.asked]
    assert sorted(asked) == [ask.prompt for ask in ASKS]
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
def test_what_may_pass_is_tried_again(endpoint: Endpoint, opens: Opens, fault: Fault) -> None:
    endpoint.faults = [fault, fault]
    engine = opens()
    assert [len(row) for row in engine.sample(ASKS, DECODING, 0, 2)] == [2] * 6
    assert (engine.counts["requests"], engine.counts["retries"]) == (8, 2)


@pytest.mark.parametrize("fault", [(500, {}, b"out of order " + KEY.encode()), (200, {}, b"{"), (0, {}, b"")])
def test_an_endpoint_that_goes_on_failing_is_told(endpoint: Endpoint, opens: Opens, fault: Fault) -> None:
    endpoint.faults = [fault] * 100
    told = told_by(opens(), ASKS[:1])
    assert told.startswith("the endpoint gave no answer in 4 tries (") and "earlier answers are kept" in told
    assert len(endpoint.asked) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_told_and_not_tried_again(endpoint: Endpoint, opens: Opens, status: int) -> None:
    endpoint.faults = [(status, {}, json.dumps({"error": {"message": f"no, {KEY}"}}).encode())]
    told = told_by(opens(), ASKS[:1])
    assert told.startswith("the endpoint refuses to be asked for `weak` (it answers") and str(status) in told
    assert len(endpoint.asked) == 1


def test_an_account_without_money_is_not_asked_again(endpoint: Endpoint, opens: Opens) -> None:
    words = b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    endpoint.faults = [(429, {}, words)]
    assert "exceeded your quota" in told_by(opens(), ASKS[:1])
    assert len(endpoint.asked) == 1


def test_what_an_endpoint_says_instead_of_an_answer_is_told(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.faults = [(200, {}, b'{"error": {"message": "overloaded, ' + KEY.encode() + b'"}}')] * 4
    assert "it answers an error: overloaded, …)" in told_by(opens(), ASKS[:1])


def test_an_endpoint_that_is_not_there_is_told(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert "no answer: All connection attempts failed" in told_by(opens(), ASKS[:1])


def test_a_pause_that_the_endpoint_asks_for_is_kept(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.faults = [(429, {"Retry-After": "0.3"}, b"{}")]
    opens().sample(ASKS[:1], DECODING, 0, 2)
    assert endpoint.times[1] - endpoint.times[0] >= 0.3


def test_a_pause_is_kept_by_those_that_come_after_too(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")
    endpoint.faults = [(429, {"Retry-After": "0.3"}, b"{}")]
    opens().sample(ASKS, DECODING, 0, 1)
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
    assert [len(row) for row in opens().sample(ASKS[:1], DECODING, 0, 2)] == [0]


def test_choices_that_are_missing_are_asked_for_with_the_seeds_that_are_left(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.choices = 2
    (row,) = opens().sample(ASKS[:1], DECODING, 0, 5)
    seed = first_seed(3, ASKS[0].question_id)
    assert [one.completion for one in row] == [f"SELECT {seed + number}" for number in range(5)]
    assert [body["n"] for body in endpoint.asked] == [5, 3, 1]


@pytest.mark.parametrize(
    ("reason", "known"), [("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "other")]
)
def test_an_empty_completion_is_a_sample_and_why_it_ended_is_kept(
    endpoint: Endpoint, opens: Opens, reason: str, known: str
) -> None:
    endpoint.text, endpoint.reason = "", reason
    (row,) = opens(logprobs=False).sample(ASKS[:1], DECODING, 0, 1)
    assert row == [Sample("", known, 4, None)]


@pytest.mark.parametrize("scores", ["null, -1.0", "-9999.0, -1.0", "NaN, -1.0"])
def test_a_log_probability_is_unknown_where_that_of_a_token_is(endpoint: Endpoint, opens: Opens, scores: str) -> None:
    answer = f'{{"choices": [{{"text": "a", "finish_reason": "stop", "logprobs": {{"token_logprobs": [{scores}]}}}}]}}'
    endpoint.faults = [(200, {}, answer.encode())]
    assert opens().sample(ASKS[:1], DECODING, 0, 1) == [[Sample("a", "stop", 2, None)]]


def test_half_a_character_is_kept_as_a_sign_for_it(endpoint: Endpoint, opens: Opens) -> None:
    endpoint.faults = [(200, {}, rb'{"choices": [{"text": "\ud83d\ude00 \ud83d", "finish_reason": "length"}]}')]
    (row,) = opens().sample(ASKS[:1], DECODING, 0, 1)
    assert row[0].completion == "😀 \ufffd"


def test_cost_is_counted_and_told_and_the_key_is_not(
    endpoint: Endpoint, opens: Opens, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = opens()
    engine.sample(ASKS, DECODING, 0, 2)
    tokens = {"prompt_tokens": 60, "completion_tokens": 48, "without_usage": 0}
    expected = {"requests": 6, "retries": 0, **tokens, "cost": 0.000504}  # 60 x 2 and 48 x 8, of a million
    assert engine.report() == {"endpoint": expected}
    told = capsys.readouterr()
    assert "cost 0.000504" in told.err and KEY not in told.err + told.out
    assert opens(input_price=None).report()["endpoint"]["cost"] is None


def test_so_many_are_asked_at_once_and_no_more(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "3")
    endpoint.pause = 0.05
    opens().sample(ASKS, DECODING, 0, 1)
    assert endpoint.busiest == 3


def test_so_many_are_asked_a_minute_and_no_more(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_REQUESTS_PER_MINUTE", "600")
    start = time.monotonic()
    opens().sample(ASKS, DECODING, 0, 1)
    assert time.monotonic() - start >= 0.1 * (len(ASKS) - 1)


def test_that_bound_holds_from_batch_to_batch(
    endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_REQUESTS_PER_MINUTE", "300")
    start, engine = time.monotonic(), opens()
    for ask in ASKS[:3]:
        engine.sample([ask], DECODING, 0, 1)
    assert time.monotonic() - start >= 2 * 0.2


def test_what_was_answered_before_a_failure_is_kept(
    endpoint: Endpoint, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "2")  # one batch of 8
    last = ASKS[-1].prompt
    endpoint.refuse = lambda body: (503, {}, b"{}") if body["prompt"] == last else None
    cache = Cache(tmp_path / "cache")
    with pytest.raises(UserError, match="earlier answers are kept"):
        list(sample_all(opens(), ASKS, DECODING, cache))
    endpoint.refuse = lambda body: None
    asked = len(endpoint.asked)
    list(sample_all(opens(), ASKS, DECODING, cache))
    assert [body["prompt"] for body in endpoint.asked[asked:]] == [last]


EIGHT = replace(DECODING, n=8)


def test_an_answer_is_kept_though_its_question_lacks_others(endpoint: Endpoint, opens: Opens, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    endpoint.choices, endpoint.then = 1, {20: (401, {}, b"{}")}
    with pytest.raises(UserError, match="refuses"):
        list(sample_all(opens(), ASKS, EIGHT, cache))
    there = len(records_in(cache.file.parent))
    assert there >= 20
    asked = len(endpoint.asked)
    ((_, rows),) = sample_all(opens(), ASKS, EIGHT, cache)
    for ask, row in zip(ASKS, rows, strict=True):
        seed = first_seed(3, ask.question_id)
        assert [one.completion for one in row] == [f"SELECT {seed + number}" for number in range(8)]
    assert len(endpoint.asked) - asked == 48 - there


def test_an_answer_is_kept_when_it_comes(
    endpoint: Endpoint, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "2")
    cache, real, seen, kept = Cache(tmp_path / "cache"), endpoint.answer, list[int](), list[object]()
    put = cache.put

    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        seen.append(len(kept))  # not `records_in`: a second SQLite library beside a writing one can end a process
        return real(path, body)

    def counted_put(records: Iterable[tuple[bytes, Any]]) -> None:
        records = list(records)
        put(records)
        kept.extend(records)

    monkeypatch.setattr(endpoint, "answer", answer)
    monkeypatch.setattr(cache, "put", counted_put)
    list(sample_all(opens(), ASKS, DECODING, cache))
    assert seen[-1] >= 8  # all but the two questions that are being asked


@pytest.mark.usefixtures("heeded_interrupts")
def test_answers_that_came_before_an_interrupt_are_kept(
    endpoint: Endpoint, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")
    cache, real = Cache(tmp_path / "cache"), endpoint.answer

    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if len(endpoint.asked) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        return real(path, body)

    monkeypatch.setattr(endpoint, "answer", answer)
    with pytest.raises(KeyboardInterrupt):
        list(sample_all(opens(), ASKS, DECODING, cache))
    assert (len(records_in(cache.file.parent)), len(endpoint.asked)) == (6, 4)


def test_answers_that_came_before_any_error_are_kept(
    endpoint: Endpoint, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")
    cache = Cache(tmp_path / "cache")

    def read(text: str) -> Answer:
        if len(endpoint.asked) == 4:
            raise ZeroDivisionError
        return read_answer(text)

    monkeypatch.setattr(asking_endpoint, "read_answer", read)
    with pytest.raises(ZeroDivisionError):
        list(sample_all(opens(), ASKS, DECODING, cache))
    assert (len(records_in(cache.file.parent)), len(endpoint.asked)) == (6, 4)


def test_answers_under_way_at_a_refusal_are_waited_for_and_nothing_more_is_asked(
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
        list(sample_all(opens(), ASKS, DECODING, cache))
    assert (len(records_in(cache.file.parent)), len(endpoint.asked)) == (4, 3)


def test_what_was_answered_is_not_asked_again(endpoint: Endpoint, opens: Opens, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    rows = list(sample_all(opens(), ASKS, DECODING, cache))
    asked = len(endpoint.asked)
    assert list(sample_all(opens(), ASKS, DECODING, cache)) == rows and len(endpoint.asked) == asked
    more = Decoding(n=3, temperature=0.7, top_p=0.9, max_tokens=16, seed=3)
    list(sample_all(opens(), [*ASKS, Ask("demo/train/0009", "db", "new")], more, cache))
    assert sorted(body["n"] for body in endpoint.asked[asked:]) == [1] * 6 + [3]


def test_every_mistake_in_file_and_environment_is_told(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "none")
    with pytest.raises(UserError) as caught:
        opens(api="rest", input_price=-1.0)
    told = [sentence.split(" ", 1)[1] if "own.yaml" in sentence else sentence for sentence in caught.value.sentences]
    assert [sentence.split(" is ")[0] for sentence in told] == [
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
def test_an_address_or_a_key_that_is_none_is_told_and_not_shown(
    name: str, value: str, endpoint: Endpoint, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        opens()
    (told,) = caught.value.sentences
    assert told.startswith(f"{name} is not") and KEY not in told and "pass-word" not in told


def test_the_example_is_an_endpoint(endpoint: Endpoint) -> None:
    assert OpenaiEngine(ROOT / "models/endpoints/example.yaml").name == "deepseek-coder-1.3b-base"
