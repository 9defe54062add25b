"""Samples of the model in training: of its weights as they are, and the same whatever is sampled beside them."""

import copy
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.grpo.rollouts import Rollouts
from stages.lm.completions import Decoding

DECODING = Decoding(4, 1.0, 1.0, 12, seed=3)


def trainer_at(step: int, process: int = 0) -> Any:
    """What a rollout reads of a trainer."""
    accelerator = SimpleNamespace(process_index=process, device=torch.device("cpu"), autocast=nullcontext)
    return SimpleNamespace(accelerator=accelerator, state=SimpleNamespace(global_step=step))


@pytest.fixture
def trained(model: LlamaForCausalLM) -> LlamaForCausalLM:
    trained = copy.deepcopy(model)
    trained.train()
    return trained


@pytest.fixture
def rollouts(trained: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Rollouts:
    return Rollouts(trained, tokenizer, Path("base"), DECODING, {})


@pytest.fixture(scope="module")
def prompts(sft_rows: pl.DataFrame) -> list[str]:
    return sft_rows["prompt"].head(3).to_list()


def logprobs_of(model: LlamaForCausalLM, prompt: list[int], completion: list[int]) -> list[float]:
    """The plain model's log-probabilities of a completion."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    logprobs: list[float] = logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0].tolist()
    return logprobs


def test_samples_are_those_of_the_weights_as_they_are_now(
    rollouts: Rollouts, trained: LlamaForCausalLM, prompts: list[str]
) -> None:
    for step in range(2):
        output = rollouts([prompt for prompt in prompts for _ in range(4)], trainer_at(step))
        rows = zip(output["prompt_ids"], output["completion_ids"], output["logprobs"], strict=True)
        for prompt, completion, logprobs in rows:
            assert logprobs == pytest.approx(logprobs_of(trained, prompt, completion), abs=1e-4)
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.mul_(1.3)  # in place, as an optimizer's step


def test_a_completion_ends_with_its_end_token_or_at_max_tokens(
    rollouts: Rollouts, tokenizer: PreTrainedTokenizerFast, prompts: list[str]
) -> None:
    output = rollouts([prompts[0]] * 40, trainer_at(0))
    for completion in output["completion_ids"]:
        ends = completion.count(tokenizer.eos_token_id)
        assert (ends, completion[-1]) == (1, tokenizer.eos_token_id) or (ends == 0 and len(completion) == 12)


def test_a_sample_depends_on_seed_step_prompt_and_number_alone(rollouts: Rollouts, prompts: list[str]) -> None:
    beside = rollouts([prompt for prompt in prompts for _ in range(4)], trainer_at(5))["completion_ids"]
    torch.manual_seed(99)
    alone = rollouts([prompts[1]] * 4, trainer_at(5))["completion_ids"]
    assert beside[4:8] == alone
    assert rollouts([prompts[1]] * 2, trainer_at(5))["completion_ids"] == alone[:2]
    assert rollouts([prompts[1]] * 4, trainer_at(6))["completion_ids"] != alone


def test_samples_of_one_prompt_differ_also_between_processes(rollouts: Rollouts, prompts: list[str]) -> None:
    first, second = (rollouts([prompts[0]] * 4, trainer_at(0, process))["completion_ids"] for process in (0, 1))
    assert len({tuple(completion) for completion in first + second}) == 8


def test_the_model_in_training_keeps_its_attention_and_its_mode(
    rollouts: Rollouts, trained: LlamaForCausalLM, prompts: list[str]
) -> None:
    rollouts(prompts, trainer_at(0))
    assert trained.training and trained.config._attn_implementation != "sense_shared"
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in trained.parameters())
