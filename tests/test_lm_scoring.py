"""Scoring labelled tokens only, against TRL's own head, which scores every position."""

from copy import deepcopy

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl.trainer.utils import add_fused_lm_head

from stages.lm.scoring import score_labels_only

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
    expected, found = (getattr(copy(**batch(tokenizer), fused_lm_head=True), field) for copy in (theirs, ours))
    torch.testing.assert_close(found, expected)


def test_the_loss_and_its_gradient_are_those_of_trls_own_head(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    theirs, ours = deepcopy(model), deepcopy(model)
    for copy in (theirs, ours):
        add_fused_lm_head(copy, outputs=FIELDS)
    score_labels_only(ours)
    for copy in (theirs, ours):
        copy(**batch(tokenizer), fused_lm_head=True).loss.backward()
    for one, other in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_a_forward_pass_without_the_fused_head_is_unchanged(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    ours = deepcopy(model)
    add_fused_lm_head(ours)
    score_labels_only(ours)
    assert torch.equal(ours(**batch(tokenizer)).logits, model(**batch(tokenizer)).logits)
