"""Scoring labelled tokens only, against TRL's own head, which scores every position."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl.trainer.utils import add_fused_lm_head

from stages.training.labels_only_head import score_labels_only
from stages.training.lora import add_adapters
from stages.training.params import LoraParams

FIELDS = ("log_probs", "entropy", "mean_logits", "is_top1")


def batch(tokenizer: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    """Two texts of different length, labelled in their second half."""
    texts = ["singer(singer_id, name)\nSELECT name FROM singer", "a(b)\nSELECT b FROM a"]
    given = tokenizer(texts, return_tensors="pt", padding=True)
    labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
    labels[:, : labels.shape[1] // 3] = -100
    return {"input_ids": given["input_ids"], "attention_mask": given["attention_mask"], "labels": labels}


@pytest.mark.parametrize("field", FIELDS)
def test_each_scored_field_is_that_of_trls_own_head(
    field: str, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    theirs, ours = deepcopy(model), deepcopy(model)
    for copy in (theirs, ours):
        add_fused_lm_head(copy, outputs=FIELDS)
    score_labels_only(ours)
    expected, actual = (getattr(copy(**batch(tokenizer), fused_lm_head=True), field) for copy in (theirs, ours))
    torch.testing.assert_close(actual, expected)


def test_the_loss_and_its_gradient_are_those_of_trls_own_head(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    theirs, ours = deepcopy(model), deepcopy(model)
    for copy in (theirs, ours):
        add_fused_lm_head(copy, outputs=FIELDS)
    score_labels_only(ours)
    for copy in (theirs, ours):
        copy(**batch(tokenizer), fused_lm_head=True).loss.backward()
    for expected, actual in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(expected.grad, actual.grad, atol=1e-6, rtol=1e-4)


def test_a_forward_pass_without_the_fused_head_is_unchanged(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    ours = deepcopy(model)
    add_fused_lm_head(ours)
    score_labels_only(ours)
    assert torch.equal(ours(**batch(tokenizer)).logits, model(**batch(tokenizer)).logits)


def test_adapters_are_scored_as_by_trls_own_head(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    log_probs = []
    for ours in (False, True):
        adapted: Any = add_adapters(deepcopy(model), LoraParams(rank=4, alpha=8.0, dropout=0.0), seed=1)
        for name, weights in adapted.named_parameters():
            if "lora_B" in name:  # they start at 0
                torch.nn.init.constant_(weights, 0.1)
        add_fused_lm_head(adapted.get_base_model())
        if ours:
            score_labels_only(adapted)
        log_probs.append(adapted(**batch(tokenizer), fused_lm_head=True).log_probs)
        with adapted.disable_adapter():
            log_probs.append(adapted(**batch(tokenizer), fused_lm_head=True).log_probs)
    torch.testing.assert_close(log_probs[0], log_probs[2])
    torch.testing.assert_close(log_probs[1], log_probs[3])
    assert not torch.allclose(log_probs[0], log_probs[1])
