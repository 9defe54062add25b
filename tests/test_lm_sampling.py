"""Sampling with a shared prompt, against transformers' own generation and scoring."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.lm.sampling import Decoding, Sample, batches, sample_batch

PROMPTS = [
    "singer(singer_id, name)\nquestion: Who?\nsql:\n",
    "singer(singer_id, name, age)\nalbum(album_id, title)\nquestion: Which singers have an age above 3?\nsql:\n",
    "a(b)\nquestion: b?\nsql:\n",
]
IDS = ["demo/train/0001", "demo/train/0002", "demo/train/0003"]
SAMPLING = Decoding(n=5, temperature=1.0, top_p=1.0, max_tokens=12, seed=3)
GREEDY = replace(SAMPLING, n=1, temperature=0.0)


def texts(samples: list[list[Sample]]) -> list[list[str]]:
    return [[sample.completion for sample in row] for row in samples]


def generated(model: Any, tokenizer: PreTrainedTokenizerFast, prompt: str) -> tuple[torch.Tensor, int]:
    """The tokens of transformers' own greedy generation, prompt first, and how many of them are the prompt's."""
    start = torch.tensor([tokenizer(prompt)["input_ids"]])
    ids = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=12, do_sample=False)
    return ids, start.shape[1]


def test_greedy_decoding_equals_generate(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    for prompt, (sample,) in zip(PROMPTS, sample_batch(model, tokenizer, IDS, PROMPTS, GREEDY), strict=True):
        ids, start = generated(model, tokenizer, prompt)
        assert sample.completion == tokenizer.decode(ids[0, start:], skip_special_tokens=True)


@pytest.mark.parametrize("n", [1, 3])
def test_a_samples_logprob_is_that_of_scoring_it_alone(
    n: int, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    coldest = replace(SAMPLING, n=n, temperature=1e-6)  # every sample is the greedy one, whose tokens generate gives
    for prompt, row in zip(PROMPTS, sample_batch(model, tokenizer, IDS, PROMPTS, coldest), strict=True):
        ids, start = generated(model, tokenizer, prompt)
        with torch.no_grad():
            scores = model(ids).logits[0].log_softmax(-1)
        logprob = sum(scores[at - 1, ids[0, at]].item() for at in range(start, ids.shape[1]))
        assert [sample.logprob for sample in row] == [pytest.approx(logprob, abs=1e-3)] * n


def test_a_questions_samples_do_not_depend_on_what_else_is_in_the_batch(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    together = texts(sample_batch(model, tokenizer, IDS, PROMPTS, SAMPLING))
    alone = [texts(sample_batch(model, tokenizer, [i], [p], SAMPLING))[0] for i, p in zip(IDS, PROMPTS, strict=True)]
    assert together == alone


def test_more_samples_keep_the_first_ones(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    few = texts(sample_batch(model, tokenizer, IDS, PROMPTS, SAMPLING))
    more = texts(sample_batch(model, tokenizer, IDS, PROMPTS, replace(SAMPLING, n=8)))
    assert [row[:5] for row in more] == few


def test_another_seed_gives_other_samples(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    other = sample_batch(model, tokenizer, IDS, PROMPTS, replace(SAMPLING, seed=4))
    assert texts(other) != texts(sample_batch(model, tokenizer, IDS, PROMPTS, SAMPLING))


def test_the_smallest_nucleus_is_greedy(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    nucleus = sample_batch(model, tokenizer, IDS, PROMPTS, replace(SAMPLING, top_p=1e-6))
    greedy = sample_batch(model, tokenizer, IDS, PROMPTS, GREEDY)
    assert all(set(row) == set(best) for row, best in zip(texts(nucleus), texts(greedy), strict=True))


def test_a_sample_cut_at_max_tokens_says_so(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    (row,) = sample_batch(model, tokenizer, IDS[:1], PROMPTS[:1], replace(SAMPLING, max_tokens=1))
    assert all((sample.finish_reason, sample.tokens) in {("length", 1), ("stop", 1)} for sample in row)


def test_sampled_tokens_follow_the_models_distribution(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    wanted = replace(SAMPLING, n=4000, max_tokens=1)
    (row,) = sample_batch(model, tokenizer, IDS[:1], PROMPTS[:1], wanted)
    ids = torch.tensor([tokenizer(PROMPTS[0])["input_ids"]])
    with torch.no_grad():
        probabilities = model(ids).logits[0, -1].softmax(-1)
    best = int(probabilities.argmax())
    share = sum(sample.completion == tokenizer.decode([best]) for sample in row) / 4000
    assert share == pytest.approx(probabilities[best].item(), abs=0.02)


def test_batches_hold_each_prompt_once_and_sort_by_length(tokenizer: PreTrainedTokenizerFast) -> None:
    assert list(batches(PROMPTS, tokenizer, 2)) == [[2, 0], [1]]
