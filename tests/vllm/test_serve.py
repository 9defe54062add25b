"""The engine `openai` against vLLM's own server, with a model that is made here."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from transformers import PreTrainedTokenizerFast

from stages.lm.completions import PromptedQuestion
from stages.sampling.openai_engine import OpenaiEngine
from stages.sampling.transformers_engine import TransformersEngine
from tests.vllm.server import serving
from tests.vllm.test_vllm_engine import CONFIGS, GREEDY, QUESTIONS, SAMPLING, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    return save(tmp_path_factory.mktemp("served") / "weak", CONFIGS["llama"], tokenizer)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """The address of the model's server on loopback."""
    with serving(folder, "weak") as address:
        yield f"{address}/v1"


@pytest.fixture
def engine(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenaiEngine:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_BASE_URL", server)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    endpoint: dict[str, object] = {"model": "weak", "version": "1", "api": "completions", "logprobs": True}
    endpoint |= {"input_price": 1.0, "output_price": 1.0}
    with (tmp_path / "weak.yaml").open("w") as file:
        YAML().dump({"endpoint": endpoint}, file)
    return OpenaiEngine(tmp_path / "weak.yaml")


def test_greedy_answers_are_those_of_transformers(engine: OpenaiEngine, folder: Path) -> None:
    theirs, ours = engine.sample(QUESTIONS, GREEDY, 0, 1), TransformersEngine(folder, 4).sample(QUESTIONS, GREEDY, 0, 1)
    assert [row[0].completion for row in theirs] == [row[0].completion for row in ours]
    assert [row[0].finish_reason for row in theirs] == [row[0].finish_reason for row in ours]
    for (sample,), (other,) in zip(theirs, ours, strict=True):
        if sample.finish_reason == "length":  # else the end token is not among those that an endpoint counts
            assert sample.tokens == other.tokens and sample.logprob == pytest.approx(other.logprob, abs=1e-2)


def test_more_samples_keep_those_that_are_there(engine: OpenaiEngine) -> None:
    whole = engine.sample(QUESTIONS, SAMPLING, 0, 4)
    parts = zip(engine.sample(QUESTIONS, SAMPLING, 0, 1), engine.sample(QUESTIONS, SAMPLING, 1, 3), strict=True)
    assert [[sample.completion for sample in (*first, *rest)] for first, rest in parts] == [
        [sample.completion for sample in row] for row in whole
    ]


def test_a_prompt_that_is_too_long_has_no_samples(engine: OpenaiEngine) -> None:
    long = PromptedQuestion("demo/train/9999", "db0", "name " * 300)
    assert [len(row) for row in engine.sample([QUESTIONS[0], long], replace(SAMPLING, n=1), 0, 1)] == [1, 0]


def test_what_was_asked_for_is_counted(engine: OpenaiEngine) -> None:
    engine.sample(QUESTIONS[:1], replace(SAMPLING, n=2), 0, 2)
    report = engine.report()["endpoint"]
    assert report["requests"] == 1 and report["prompt_tokens"] > 0 and 0 < report["completion_tokens"] <= 32
    assert report["cost"] == pytest.approx((report["prompt_tokens"] + report["completion_tokens"]) / 1e6)
