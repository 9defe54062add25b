"""An endpoint on loopback that fails as a test wants, and the engine `openai` that requests it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.endpoints import client
from stages.lm.completions import Decoding, PromptedQuestion
from stages.sampling.openai_engine import OpenaiEngine
from tests.web import running

KEY = "sk-secret-of-this-test"
QUESTIONS = [PromptedQuestion(f"demo/train/{number:04}", "db", f"question {number}\nsql:\n") for number in range(6)]
DECODING = Decoding(n=2, temperature=0.7, top_p=0.9, max_tokens=16, seed=3)
Fault = tuple[int, dict[str, str], bytes]


@dataclass
class Endpoint:
    """`faults`: status, headers and body of the next responses, in place of correct ones; status 0 closes the
    connection. `then`: the same, by the number of earlier requests. `refuse`: the same, by the request. `respond`: what
    gives correct responses in place of `answer`. `choices`: the most choices of a response. `requests`: the bodies so
    far. `busiest`: the most requests in flight at once.
    """

    address: str = ""
    faults: list[Fault] = field(default_factory=list)
    then: dict[int, Fault] = field(default_factory=dict)
    refuse: Callable[[dict[str, Any]], Fault | None] = lambda body: None
    respond: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None
    choices: int = 100
    text: str = "SELECT {}"
    reason: str = "stop"
    pause: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    times: list[float] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        numbers = range(min(body.get("n", 1), self.choices))
        texts = [self.text.format(body.get("seed", 0) + number) for number in numbers]
        chat = path.endswith("/chat/completions")
        score = {"content": [{"token": "a", "logprob": -0.25}] * 3} if chat else {"token_logprobs": [-0.5, -0.5]}
        if "logprobs" not in body:
            score = {}
        contents = [{"message": {"content": text}} if chat else {"text": text} for text in texts]
        choices = [content | {"finish_reason": self.reason, "logprobs": score or None} for content in contents]
        return {"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 4 * len(texts)}}


class Handler(BaseHTTPRequestHandler):
    endpoint: Endpoint

    def do_POST(self) -> None:
        end = self.endpoint
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with end.lock:
            end.requests.append(body)
            end.keys.add(self.headers["Authorization"])
            end.times.append(time.monotonic())
            end.busy += 1
            end.busiest = max(end.busy, end.busiest)
            fault = end.faults.pop(0) if end.faults else end.then.get(len(end.requests) - 1)
        fault = fault or end.refuse(body)
        time.sleep(end.pause)
        status, headers, data = fault or (200, {}, json.dumps((end.respond or end.answer)(self.path, body)).encode())
        with end.lock:
            end.busy -= 1
        if status:
            self.send_response(status)
            kind = {"Content-Length": str(len(data)), "Content-Type": "application/json"}
            for name, value in (kind | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    end = Endpoint()
    with running(type("Own", (Handler,), {"endpoint": end})) as end.address:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{end.address}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr(client, "RETRY_DELAYS", (0.0, 0.0, 0.0))
        yield end


Opens = Callable[..., OpenaiEngine]


@pytest.fixture
def opens(tmp_path: Path) -> Opens:
    def open_it(**changed: Any) -> OpenaiEngine:
        settings = {"model": "weak", "version": "1", "api": "completions", "logprobs": True}
        settings |= {"input_price": 2.0, "output_price": 8.0} | changed
        with (tmp_path / "own.yaml").open("w") as file:
            YAML().dump({"endpoint": settings}, file)
        return OpenaiEngine(tmp_path / "own.yaml")

    return open_it
