"""The engine `openai` against vLLM's own server, with a model that is made here."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from ruamel.yaml import YAML
from transformers import PreTrainedTokenizerFast

from stages.lm.completions import Ask
from stages.sampling.openai_engine import OpenaiEngine
from stages.sampling.transformers_engine import TransformersEngine
from tests.vllm.test_vllm_engine import ASKS, CONFIGS, GREEDY, SAMPLING, save

PATIENCE = 180  # seconds that the server may take to start


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    return save(tmp_path_factory.mktemp("served") / "weak", CONFIGS["llama"], tokenizer)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """The address of the model's server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--dtype", "float32",
        "--served-model-name", "weak", "--generation-config", "vllm", "--host", "127.0.0.1", "--port", port,
    ]  # fmt: skip
    with (folder.parent / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, folder.parent / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends the server, and what it started, whether it wants to or not."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture
def engine(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenaiEngine:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_BASE_URL", server)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    told: dict[str, object] = {"model": "weak", "version": "1", "api": "completions", "logprobs": True}
    told |= {"input_price": 1.0, "output_price": 1.0}
    with (tmp_path / "weak.yaml").open("w") as file:
        YAML().dump({"endpoint": told}, file)
    return OpenaiEngine(tmp_path / "weak.yaml")


def test_greedy_answers_are_those_of_transformers(engine: OpenaiEngine, folder: Path) -> None:
    theirs, ours = engine.sample(ASKS, GREEDY, 0, 1), TransformersEngine(folder, 4).sample(ASKS, GREEDY, 0, 1)
    assert [row[0].completion for row in theirs] == [row[0].completion for row in ours]
    assert [row[0].finish_reason for row in theirs] == [row[0].finish_reason for row in ours]
    for (one,), (other,) in zip(theirs, ours, strict=True):
        if one.finish_reason == "length":  # else the end token is not among those that an endpoint counts
            assert one.tokens == other.tokens and one.logprob == pytest.approx(other.logprob, abs=1e-2)


def test_more_samples_keep_those_that_are_there(engine: OpenaiEngine) -> None:
    whole = engine.sample(ASKS, SAMPLING, 0, 4)
    parts = zip(engine.sample(ASKS, SAMPLING, 0, 1), engine.sample(ASKS, SAMPLING, 1, 3), strict=True)
    assert [[one.completion for one in (*first, *rest)] for first, rest in parts] == [
        [one.completion for one in row] for row in whole
    ]


def test_a_prompt_that_is_too_long_has_no_samples(engine: OpenaiEngine) -> None:
    long = Ask("demo/train/9999", "db0", "name " * 300)
    assert [len(row) for row in engine.sample([ASKS[0], long], replace(SAMPLING, n=1), 0, 1)] == [1, 0]


def test_what_was_asked_for_is_counted(engine: OpenaiEngine) -> None:
    engine.sample(ASKS[:1], replace(SAMPLING, n=2), 0, 2)
    told = engine.report()["endpoint"]
    assert told["requests"] == 1 and told["prompt_tokens"] > 0 and 0 < told["completion_tokens"] <= 32
    assert told["cost"] == pytest.approx((told["prompt_tokens"] + told["completion_tokens"]) / 1e6)
