"""A strong model behind an endpoint: what it asks, keeps and pays for, whatever the endpoint does."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.endpoints import client
from stages.synthesis.endpoint_model import EndpointModel
from stages.synthesis.requests import Request, ask_vote
from stages.synthesis.strong_model import Answer, BudgetedModel
from tests.cached import records_in
from tests.fake_endpoint import KEY, Endpoint, Fault
from tests.synthesis.world import budget

IDS = [f"strong/bank_0001/{number:02}" for number in range(8)]
REQUESTS = [ask_vote(item_id, "strong_bank_0001", "bank", "t (a)", "?", 1) for item_id in IDS]
REFUSAL: Fault = (400, {}, b'{"error": {"message": "I will not"}}')
OUT_OF_MONEY: list[Fault] = [
    (402, {}, b'{"error": {"message": "payment required"}}'),
    (429, {}, b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'),
]


def model_of(folder: Path, **changed: Any) -> EndpointModel:
    """A model of its own with the cache in `folder`, as each run has it."""
    settings = {"model": "strong", "version": "1", "api": "chat", "logprobs": False}
    prices = {"input_price": 2.0, "output_price": 8.0}
    with (folder / "own.yaml").open("w") as file:
        YAML().dump({"endpoint": settings | prices | changed}, file)
    return EndpointModel(folder / "own.yaml", 0.8, 50, 1, Cache(folder / "cache"))


def answers(model: EndpointModel, requests: list[Request] = REQUESTS) -> list[Answer]:
    return model.answer(requests)


def error_of(model: EndpointModel, requests: list[Request] = REQUESTS) -> str:
    with pytest.raises(UserError) as caught:
        model.answer(requests)
    (message,) = caught.value.sentences
    assert KEY not in message
    return message


def subjects(endpoint: Endpoint) -> list[int]:
    """The seeds that were asked for, which name the requests."""
    return [body["seed"] for body in endpoint.requests]




@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_OPENAI_CONCURRENCY", "1")


def test_each_request_has_its_own_seed_and_says_what_it_wants(endpoint: Endpoint, tmp_path: Path) -> None:
    given = answers(model_of(tmp_path))
    assert len(set(subjects(endpoint))) == 8
    assert [answer.text for answer in given] == [f"SELECT {seed}" for seed in subjects(endpoint)]
    assert {replace(answer, text="") for answer in given} == {Answer("", "stop", 10, 4)}
    body = endpoint.requests[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("strong", 0.8, 50)
    assert body["messages"] == REQUESTS[0].messages()
    assert body["response_format"]["json_schema"]["name"] == "QueryDraft"
    assert endpoint.keys == {f"Bearer {KEY}"}


def test_an_endpoint_of_completions_gets_one_text(endpoint: Endpoint, tmp_path: Path) -> None:
    answers(model_of(tmp_path, api="completions"), REQUESTS[:1])
    (body,) = endpoint.requests
    assert REQUESTS[0].text in body["prompt"] and "messages" not in body and "response_format" not in body


def test_a_second_run_pays_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    first = answers(model_of(tmp_path))
    assert answers(model_of(tmp_path)) == first
    assert len(endpoint.requests) == 8


def test_answers_are_kept_under_what_was_asked_and_nothing_else(endpoint: Endpoint, tmp_path: Path) -> None:
    answers(model_of(tmp_path))
    for changed in ({"input_price": 3.0}, {"logprobs": True}):
        answers(model_of(tmp_path, **changed))
    assert len(endpoint.requests) == 8
    answers(model_of(tmp_path, version="2"))
    assert len(endpoint.requests) == 16


def test_every_answer_is_kept_at_once(endpoint: Endpoint, tmp_path: Path) -> None:
    seen: list[int] = []

    def count(body: dict[str, Any]) -> None:
        seen.append(len(records_in(tmp_path / "cache")))

    endpoint.refuse = count
    answers(model_of(tmp_path))
    assert seen == list(range(8))


def test_a_run_that_is_killed_asks_only_the_rest_when_it_is_repeated(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kept = model_of(tmp_path), 0
    put = model.cache.put

    def kill(records: Any) -> None:
        nonlocal kept
        put(records)
        kept += 1
        if kept == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(model.cache, "put", kill)
    with pytest.raises(KeyboardInterrupt):
        answers(model)
    paid = len(endpoint.requests)
    kept = len(records_in(tmp_path / "cache"))
    assert 3 <= kept <= paid < 8
    assert "" not in [answer.text for answer in answers(model_of(tmp_path))]
    assert len(endpoint.requests) - paid == 8 - kept


def test_two_runs_at_once_get_the_same_answers(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.pause = 0.02
    endpoint.text = "SELECT {} /* "
    results: list[list[Answer]] = []
    numbers = iter(range(1000))
    plain = endpoint.answer

    def changing(path: str, body: dict[str, Any]) -> dict[str, Any]:
        endpoint.text = f"SELECT {next(numbers)}"
        return plain(path, body)

    endpoint.respond = changing
    runs = [threading.Thread(target=lambda: results.append(answers(model_of(tmp_path)))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(results) == 2 and results[0] == results[1]


def test_the_price_of_answers_that_were_paid_for_before_counts_too(endpoint: Endpoint, tmp_path: Path) -> None:
    spent = []
    for _ in range(2):
        budgeted = BudgetedModel(model_of(tmp_path), budget(requests=5))
        assert [answer is None for answer in budgeted.ask(REQUESTS)] == [False] * 5 + [True] * 3
        spent.append(budgeted.spent())
    assert spent[0] == spent[1] == {
        "requests": 5, "prompt_tokens": 50, "completion_tokens": 20, "cost": (50 * 2 + 20 * 8) / 1e6,
    }  # fmt: skip
    assert len(endpoint.requests) == 5


def test_too_many_requests_are_put_off_and_not_dropped(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.faults = [(429, {"Retry-After": "0.2"}, b"{}")] * 3
    assert len({answer.text for answer in answers(model_of(tmp_path))}) == 8
    assert len(endpoint.requests) == 11
    assert endpoint.times[3] - endpoint.times[0] >= 0.6


def test_what_gets_no_answer_is_asked_again_at_the_end(endpoint: Endpoint, tmp_path: Path) -> None:
    model = model_of(tmp_path)
    seed = model._body(REQUESTS[2])["seed"]
    failures: Iterator[Fault] = iter([(500, {}, b"broken")] * 4)
    endpoint.refuse = lambda body: next(failures, None) if body["seed"] == seed else None
    given = answers(model)
    assert all(answer.text for answer in given)
    assert subjects(endpoint)[-1] == seed and subjects(endpoint).count(seed) == 5


def test_what_never_gets_an_answer_has_its_reason_and_costs_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    model = model_of(tmp_path)
    seed = model._body(REQUESTS[2])["seed"]
    endpoint.refuse = lambda body: (500, {}, b"broken") if body["seed"] == seed else None
    given = answers(model)
    assert given[2] == Answer("", "no_answer", 0, 0)
    assert all(answer.text for number, answer in enumerate(given) if number != 2)
    assert subjects(endpoint).count(seed) == 3 * 4


def test_a_refusal_is_not_asked_again(endpoint: Endpoint, tmp_path: Path) -> None:
    model = model_of(tmp_path)
    seed = model._body(REQUESTS[2])["seed"]
    endpoint.refuse = lambda body: REFUSAL if body["seed"] == seed else None
    assert answers(model)[2] == Answer("", "refused", 0, 0)
    assert subjects(endpoint).count(seed) == 1


def test_a_repeated_run_is_not_stopped_by_the_one_request_that_is_refused(endpoint: Endpoint, tmp_path: Path) -> None:
    seed = model_of(tmp_path)._body(REQUESTS[2])["seed"]
    endpoint.refuse = lambda body: REFUSAL if body["seed"] == seed else None
    assert answers(model_of(tmp_path)) == answers(model_of(tmp_path))


@pytest.mark.parametrize("fault", OUT_OF_MONEY)
def test_an_account_without_money_half_way_stops_the_run_and_keeps_what_was_paid(
    endpoint: Endpoint, tmp_path: Path, fault: Fault
) -> None:
    endpoint.then = dict.fromkeys(range(4, 100), fault)
    assert "the endpoint refuses to be asked for `strong`" in error_of(model_of(tmp_path))
    assert len(endpoint.requests) == 5 and len(records_in(tmp_path / "cache")) == 4
    endpoint.then = {}
    assert all(answer.text for answer in answers(model_of(tmp_path)))
    assert len(endpoint.requests) == 5 + 4


def test_an_endpoint_that_is_gone_half_way_stops_the_run_and_keeps_what_was_paid(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.then = dict.fromkeys(range(4, 100), (0, {}, b""))
    assert "gave no answer in 4 tries" in error_of(model_of(tmp_path))
    assert len(records_in(tmp_path / "cache")) == 4


def test_a_slow_endpoint_is_waited_for(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.pause = 0.3
    assert all(answer.text for answer in answers(model_of(tmp_path), REQUESTS[:2]))


def test_an_endpoint_that_never_ends_an_answer_is_given_up(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RESPONSE_TIMEOUT", 0.2)
    endpoint.pause = 1.0
    assert "no whole answer in 0.2 seconds" in error_of(model_of(tmp_path), REQUESTS[:1])


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_is_told_after_one_request(endpoint: Endpoint, tmp_path: Path, status: int) -> None:
    endpoint.faults = [(status, {}, json.dumps({"error": {"message": f"no: {KEY}"}}).encode())]
    assert error_of(model_of(tmp_path)).startswith("the endpoint refuses to be asked for `strong`")
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"[" * 200_000, b"<html>", b"\xff\xfe"],
)
def test_a_wrong_response_is_asked_for_again(endpoint: Endpoint, tmp_path: Path, body: bytes) -> None:
    endpoint.faults = [(200, {}, body)]
    assert all(answer.text for answer in answers(model_of(tmp_path), REQUESTS[:2]))
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize(
    "message",
    ["`response_format` is not supported", "Invalid parameter: 'response_format' of type 'json_schema' is unknown"],
)
def test_an_endpoint_that_rejects_the_response_format_is_asked_without(
    endpoint: Endpoint, tmp_path: Path, message: str
) -> None:
    words = json.dumps({"error": {"message": message}}).encode()
    endpoint.refuse = lambda body: (400, {}, words) if "response_format" in body else None
    assert all(answer.text for answer in answers(model_of(tmp_path)))
    assert ["response_format" in body for body in endpoint.requests] == [True] + [False] * 8
    assert answers(model_of(tmp_path)) and len(endpoint.requests) == 9


def test_an_answer_without_reported_tokens_is_kept_as_such(endpoint: Endpoint, tmp_path: Path) -> None:
    plain = endpoint.answer
    endpoint.respond = lambda path, body: plain(path, body) | {"usage": None}
    for _ in range(2):
        (answer,) = answers(model_of(tmp_path), REQUESTS[:1])
        assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)


def test_the_key_is_in_no_answer_cache_or_log(
    endpoint: Endpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    endpoint.text = f"SELECT '{KEY}' {{}}"
    endpoint.faults = [(500, {}, KEY.encode()), (400, {}, json.dumps({"error": {"message": f"bad {KEY}"}}).encode())]
    given = answers(model_of(tmp_path))
    assert "holds_key" in {answer.finish_reason for answer in given} and {answer.text for answer in given} == {""}
    assert not [path for path in (tmp_path / "cache").iterdir() if KEY.encode() in path.read_bytes()]
    output = capfd.readouterr()
    assert KEY not in output.out + output.err


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OPENAI_API_KEY", None, "OPENAI_API_KEY is not set"),
        ("OPENAI_API_KEY", "two words", "OPENAI_API_KEY is not set, or no word"),
        ("OPENAI_BASE_URL", None, "OPENAI_BASE_URL is not the address"),
        ("OPENAI_BASE_URL", "ftp://host", "OPENAI_BASE_URL is not the address"),
        ("SENSE_OPENAI_CONCURRENCY", "0", "SENSE_OPENAI_CONCURRENCY is `0`"),
    ],
)
def test_a_mistake_in_the_environment_is_told_before_anything_is_asked(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, message: str
) -> None:
    monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name)
    with pytest.raises(UserError, match=message):
        model_of(tmp_path)
    assert endpoint.requests == []
