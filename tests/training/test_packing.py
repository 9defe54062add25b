"""Packed examples do not see each other."""

from copy import deepcopy
from pathlib import Path
from statistics import mean

import polars as pl
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from stages.train_sft import sft_trainer
from stages.training.trainer import trainer_settings
from tests.test_train_sft import params_of


def packed(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: pl.DataFrame, work: Path, loss_on: str
) -> SFTTrainer:
    settings = trainer_settings(params_of(packing=True, max_length=256, batch_size=4), work)
    config = SFTConfig(**settings, packing=True, completion_only_loss=loss_on == "completion")
    return sft_trainer(model, tokenizer, rows, config)


def token_losses(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, row: dict[str, str], loss_on: str
) -> list[float]:
    """The loss of each counted token of a row that stands alone, from a plain forward pass."""
    ids = [*tokenizer(row["prompt"] + row["completion"])["input_ids"], tokenizer.eos_token_id]
    start = 1 if loss_on == "all" else len(tokenizer(row["prompt"])["input_ids"])
    with torch.no_grad():
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [-float(scores[at - 1, ids[at]]) for at in range(start, len(ids))]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("loss_on", ["all", "completion"])
def test_the_loss_of_packed_rows_is_that_of_rows_alone(
    attention: str, loss_on: str, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sft_rows: pl.DataFrame,
    tmp_path: Path,
) -> None:
    rows, model = sft_rows.head(20), deepcopy(model)
    model.set_attn_implementation(attention)
    alone = [loss for row in rows.to_dicts() for loss in token_losses(model, tokenizer, row, loss_on)]
    trainer = packed(model, tokenizer, rows, tmp_path, loss_on)
    [batch], count = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, torch.device("cpu"))
    assert len(batch["input_ids"]) < 10  # several rows in each sequence
    assert count == len(alone)
    assert float(trainer.compute_loss(model, batch).detach()) == pytest.approx(mean(alone), abs=1e-5)


def test_no_row_is_cut_or_left_out(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sft_rows: pl.DataFrame, tmp_path: Path
) -> None:
    data = packed(deepcopy(model), tokenizer, sft_rows, tmp_path, "all").train_dataset
    ends = [ids.count(tokenizer.eos_token_id) for ids in data["input_ids"]]  # type: ignore[index]
    assert sum(ends) == sft_rows.height > 2 * len(ends)
    whole = [len(tokenizer(row["prompt"] + row["completion"])["input_ids"]) + 1 for row in sft_rows.to_dicts()]
    assert sorted(length for lengths in data["seq_lengths"] for length in lengths) == sorted(whole)  # type: ignore[index]
