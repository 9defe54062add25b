"""Supervised fine-tuning of one role (strong or weak) on the SFT set, with TRL's SFTTrainer."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.errors import UserError, run_stage
from stages.files import fingerprint, sha256_file, work_folder, write_json, write_text
from stages.lm.chat import model_texts
from stages.lm.loading import load_model
from stages.lm.scoring import score_labels_only
from stages.lm.scratch import new_model, train_tokenizer
from stages.lm.training import fits, loss_rows, save_model, train, trainer_settings
from stages.params import Params, read_params
from stages.receipts import require_receipts
from stages.tables import read_table

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ScratchParams(Params):
    """The size of a `scratch` base."""

    vocab_size: int = Field(ge=256)
    hidden_size: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)

    @field_validator("heads")
    @classmethod
    def _divide(cls, heads: int, info: ValidationInfo) -> int:
        if info.data.get("hidden_size", 0) % (2 * heads):  # rotary embeddings turn the halves of a head
            raise PydanticCustomError("heads", "give a number that divides half of `hidden_size`")
        return heads


class TrainSftParams(Params):
    """Section `train_sft.<role>` of params.yaml."""

    base: str = Field(min_length=1)
    revision: str | None
    scratch: ScratchParams | None
    seed: int = Field(ge=0)
    epochs: float = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0, lt=1)
    warmup: float = Field(ge=0, lt=1)
    max_length: int = Field(gt=0)
    loss_on: Literal["completion", "all"]
    save_steps: int = Field(gt=0, multiple_of=10)  # a logged window must not span a checkpoint

    @field_validator("revision")
    @classmethod
    def _pinned(cls, revision: str | None, info: ValidationInfo) -> str | None:
        if revision is None and info.data.get("base", "scratch") != "scratch":
            raise PydanticCustomError("revision", "give the commit or tag that the Hub id in `base` is pinned to")
        return revision

    @field_validator("scratch")
    @classmethod
    def _sized(cls, scratch: ScratchParams | None, info: ValidationInfo) -> ScratchParams | None:
        if scratch is None and info.data.get("base") == "scratch":
            raise PydanticCustomError("scratch", "give vocab_size, hidden_size, layers and heads, as `base` is scratch")
        return scratch


def base_model(params: TrainSftParams, texts: pl.Series) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model and tokenizer that training starts from; `texts` train the tokenizer of a `scratch` base."""
    if params.scratch is None or params.base != "scratch":
        return load_model(params.base, params.revision)
    size = params.scratch
    tokenizer = train_tokenizer(texts, size.vocab_size, params.max_length)
    return new_model(tokenizer, size.hidden_size, size.layers, size.heads, params.seed), tokenizer


def train_sft(sft: pl.DataFrame, params: TrainSftParams, work: Path, out: Path) -> tuple[dict[str, object], str]:
    """Trains on the SFT set and writes the model folder `out`. Returns the report and the loss curve as CSV."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = base_model(params, sft["prompt"] + sft["completion"])
    read = sft.with_columns(prompt=pl.Series(model_texts(tokenizer, sft["prompt"]), dtype=pl.String))
    rows = read.filter(fits(read["prompt"] + read["completion"], tokenizer, params.max_length))
    if rows.is_empty():
        raise UserError(f"no row of the SFT set has at most {params.max_length} tokens; raise `max_length`")
    config = SFTConfig(
        **trainer_settings(
            work, seed=params.seed, epochs=params.epochs, batch_size=params.batch_size,
            learning_rate=params.learning_rate, warmup=params.warmup, save_steps=params.save_steps,
        ),
        completion_only_loss=params.loss_on == "completion",
        max_length=params.max_length,
        train_sampling_strategy="group_by_length",
    )
    data = Dataset.from_dict(rows.select("prompt", "completion").to_dict(as_series=False))
    trainer = SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)
    score_labels_only(model)
    history = train(trainer, work)
    save_model(model, tokenizer, work, out)
    report = {
        "in": sft.height, "trained_on": rows.height, "dropped": {"longer_than_max_length": sft.height - rows.height},
        "weights": model.num_parameters(), "steps": trainer.state.global_step,
        "first_loss": round(history[0]["loss"], 4), "last_loss": round(history[-1]["loss"], 4),
    }
    return report, loss_rows(history, ["loss"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=["strong", "weak"], required=True)
    for name in ("sft", "sft-receipt", "model", "report", "curve"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    params = read_params(f"train_sft.{args.role}", TrainSftParams)
    require_receipts({args.sft_receipt: args.sft})
    sft = read_table(args.sft, "sft")
    work = work_folder(args.model, fingerprint(params.model_dump(), sha256_file(args.sft)))
    report, curve = train_sft(sft, params, work, args.model)
    write_json(args.report, report)
    write_text(args.curve, curve)


if __name__ == "__main__":
    run_stage(main)
