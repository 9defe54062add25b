"""The engine `vllm` against the engine `transformers`, on models that are made here."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    set_seed,
)

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.lm.completions import Completion, Decoding, PromptedQuestion, sample_all
from stages.sampling.seeds import first_seed
from stages.sampling.transformers_engine import TransformersEngine
from stages.sampling.vllm_engine import VllmEngine

TEXTS = ["Who?", "Which singers have an age above 3?", "Which albums have a title?", "Who sang in 1999?"]
QUESTIONS = [
    PromptedQuestion(
        f"demo/train/{number:04}", f"db{number % 2}", f"singer(singer_id, name, age)\nquestion: {text}\nsql:\n"
    )
    for number, text in enumerate(TEXTS)
]
SAMPLING = Decoding(n=8, temperature=1.0, top_p=1.0, max_tokens=16, seed=3)
GREEDY = replace(SAMPLING, n=1, temperature=0.0)
SIZE: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None,
    "initializer_range": 0.3,
}  # fmt: skip
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZE, num_key_value_heads=4), "grouped": LlamaConfig(**SIZE, num_key_value_heads=2),
    "tied": LlamaConfig(**SIZE, num_key_value_heads=4, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SIZE, num_key_value_heads=2),
}  # fmt: skip


def save(folder: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> Path:
    set_seed(0)
    model: LlamaForCausalLM = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    return save(tmp_path_factory.mktemp("model") / "weak", CONFIGS["llama"], tokenizer)


@pytest.fixture(scope="module")
def engine(folder: Path) -> VllmEngine:
    return VllmEngine(folder)


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_decoding_gives_the_texts_of_transformers(
    name: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = save(tmp_path / "model", CONFIGS[name], tokenizer)
    ours, theirs = (
        TransformersEngine(model, 4).sample(QUESTIONS, GREEDY, 0, 1),
        VllmEngine(model).sample(QUESTIONS, GREEDY, 0, 1),
    )
    assert [row[0].completion for row in theirs] == [row[0].completion for row in ours]
    for (sample,), (other,) in zip(theirs, ours, strict=True):
        assert (sample.finish_reason, sample.tokens) == (other.finish_reason, other.tokens)
        assert sample.logprob == pytest.approx(other.logprob, abs=1e-3)
    assert len({row[0].completion for row in ours}) > 1


def test_more_samples_keep_those_that_are_there(engine: VllmEngine) -> None:
    whole = engine.sample(QUESTIONS, SAMPLING, 0, 8)
    parts = zip(engine.sample(QUESTIONS, SAMPLING, 0, 3), engine.sample(QUESTIONS, SAMPLING, 3, 5), strict=True)
    assert [[sample.completion for sample in (*first, *rest)] for first, rest in parts] == [
        [sample.completion for sample in row] for row in whole
    ]
    assert all(len({sample.completion for sample in row}) == 8 for row in whole)


def test_a_questions_samples_do_not_depend_on_the_others(engine: VllmEngine) -> None:
    together = engine.sample(QUESTIONS, SAMPLING, 0, 4)
    alone = [engine.sample([question], SAMPLING, 0, 4)[0] for question in QUESTIONS]
    assert [[sample.completion for sample in row] for row in alone] == [
        [sample.completion for sample in row] for row in together
    ]


def test_more_prompts_than_are_read_at_once_are_sampled(engine: VllmEngine) -> None:
    questions = [
        PromptedQuestion(f"demo/train/{number:04}", "db", f"{number} {'name ' * 25}\nsql:\n") for number in range(400)
    ]
    rows = engine.sample(questions, replace(SAMPLING, max_tokens=2), 0, 2)
    assert [len(row) for row in rows] == [2] * 400


def test_samples_end_at_the_end_token_or_at_max_tokens(engine: VllmEngine) -> None:
    long = replace(SAMPLING, max_tokens=64, n=32)
    samples = [sample for row in engine.sample(QUESTIONS, long, 0, 32) for sample in row]
    assert {sample.finish_reason for sample in samples} == {"stop", "length"}
    assert all((sample.tokens == 64) or sample.finish_reason == "stop" for sample in samples)
    assert not any("<end>" in sample.completion for sample in samples)


def test_a_generation_config_with_more_end_tokens_changes_nothing(
    engine: VllmEngine, folder: Path, tmp_path: Path
) -> None:
    (whole,) = engine.sample(QUESTIONS[:1], GREEDY, 0, 1)
    other = shutil.copytree(folder, tmp_path / "weak")
    config = json.loads((other / "generation_config.json").read_text())
    fourth = engine.tokenizer(whole[0].completion)["input_ids"][3]
    (other / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": [1, fourth]}))
    assert VllmEngine(other).sample(QUESTIONS[:1], GREEDY, 0, 1) == [whole]


def test_weights_are_split_over_all_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def load(model: str, **arguments: Any) -> Any:
        given.update(arguments)
        raise ValueError("there is no such GPU")

    monkeypatch.setattr("vllm.LLM", load)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with pytest.raises(UserError, match=r"vLLM cannot run the model `.*weak` \(there is no such GPU\)"):
        VllmEngine(folder)
    assert given["tensor_parallel_size"] == 4 and given["dtype"] == torch.float32
    assert (given["load_format"], given["trust_remote_code"]) == ("safetensors", False)


def test_weights_that_are_cut_are_refused(folder: Path, tmp_path: Path) -> None:
    cut = shutil.copytree(folder, tmp_path / "weak")
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="vLLM cannot run the model"):
        VllmEngine(cut)


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    pickled = shutil.copytree(folder, tmp_path / "weak")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="no weights in safetensors"):
        VllmEngine(pickled)


def test_a_logprob_is_the_models_own_whatever_the_temperature(engine: VllmEngine, folder: Path) -> None:
    hot = replace(SAMPLING, temperature=2.0, top_p=0.9)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = engine.tokenizer(QUESTIONS[0].prompt)["input_ids"]
    (output,) = engine.model.generate([{"prompt_token_ids": prompt}], engine._params("q", hot, 0, 4), use_tqdm=False)
    for sample in output.outputs:
        with torch.no_grad():
            scores = model(torch.tensor([[*prompt, *sample.token_ids]])).logits[0].log_softmax(-1)
        own = sum(scores[len(prompt) - 1 + at, token].item() for at, token in enumerate(sample.token_ids))
        assert engine._completion(sample).logprob == pytest.approx(own, abs=1e-3)


def test_a_prompt_that_does_not_fit_has_no_samples(engine: VllmEngine) -> None:
    long = PromptedQuestion("demo/train/9999", "db0", "name " * 120)
    assert [len(row) for row in engine.sample([QUESTIONS[0], long], SAMPLING, 0, 2)] == [2, 0]


def test_a_higher_n_asks_only_for_the_new_ones(
    engine: VllmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    list(sample_all(engine, QUESTIONS, replace(SAMPLING, n=4), cache))
    calls, real = [], engine.sample

    def watched(
        questions: Sequence[PromptedQuestion], decoding: Decoding, first: int, count: int
    ) -> list[list[Completion]]:
        calls.append((first, count))
        return real(questions, decoding, first, count)

    monkeypatch.setattr(engine, "sample", watched)
    list(sample_all(engine, QUESTIONS, SAMPLING, cache))
    assert calls == [(4, 4)]


def test_each_question_has_a_seed_of_its_own() -> None:
    seeds = {first_seed(seed, question.question_id) for seed in (1, 2) for question in QUESTIONS}
    assert len(seeds) == 8 and all(0 <= seed < 2**30 for seed in seeds)
