"""Supervised fine-tuning of one role (strong or weak) on the SFT set, with TRL's SFTTrainer."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import polars as pl
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.core.end_line import write_report
from stages.core.errors import UserError, run_stage
from stages.core.files import fingerprint, work_folder
from stages.core.layout import model_path, training_log
from stages.core.params import Params, read_params
from stages.core.progress import progress
from stages.core.receipts import open_dataset
from stages.datasets.sft import SFT
from stages.lm.chat_template import render_prompts
from stages.training.checkpoints import work_key
from stages.training.labels_only_head import score_labels_only
from stages.training.launch import exit_worker, is_main_process, launch, main_process_first
from stages.training.packing import attend_within_examples
from stages.training.params import TrainingParams
from stages.training.run_estimate import show_rows_left_out
from stages.training.scratch_model import new_model, train_tokenizer
from stages.training.trainer import apply_lora, fits_max_length, load_for_training, save_model, train, trainer_settings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTConfig, SFTTrainer


class ScratchParams(Params):
    """The size of a `scratch` base."""

    vocab_size: int = Field(ge=256, le=10**7)
    hidden_size: int = Field(gt=0, le=2**17)
    layers: int = Field(gt=0, le=10_000)
    heads: int = Field(gt=0, le=10_000)

    @field_validator("heads")
    @classmethod
    def _divide(cls, heads: int, info: ValidationInfo) -> int:
        if info.data.get("hidden_size", 0) % (2 * heads):  # rotary embeddings turn the halves of a head
            raise PydanticCustomError("heads", "give a number that divides half of `hidden_size`")
        return heads


_GIVEN = {
    "revision": "the commit or tag that the Hub id in `base` is pinned to",
    "scratch": "vocab_size, hidden_size, layers and heads, as `base` is scratch",
}


class TrainSftParams(TrainingParams):
    """Section `train_sft.<role>` of params.yaml."""

    base: str = Field(min_length=1)
    revision: str | None
    scratch: ScratchParams | None
    loss_on: Literal["completion", "all"]
    packing: bool

    @field_validator("base")
    @classmethod
    def _known(cls, base: str) -> str:
        if base != "scratch" and Path(base).is_dir():
            fault = "it is a folder, whose files neither DVC nor a training that resumes would see change"
            raise PydanticCustomError("base", f"{fault}; give a Hub id")
        return base

    @field_validator("revision", "scratch")
    @classmethod
    def _fitting(cls, value: str | ScratchParams | None, info: ValidationInfo) -> str | ScratchParams | None:
        base = info.data.get("base")  # None where it is wrong itself
        wanted = (base == "scratch") == (info.field_name == "scratch")
        if base and wanted and value is None:
            raise PydanticCustomError("base", f"give {_GIVEN[str(info.field_name)]}")
        if base and not wanted and value is not None:
            raise PydanticCustomError("base", f"give null, as `base` is {base}")
        return value


def base_model(params: TrainSftParams, texts: pl.Series) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model and tokenizer that training starts from; `texts` train the tokenizer of a `scratch` base."""
    if params.scratch is None:
        return load_for_training(params.base, params.revision, params)
    size = params.scratch
    tokenizer = train_tokenizer(texts, size.vocab_size, params.max_length)
    model = new_model(tokenizer, size.hidden_size, size.layers, size.heads, params.seed)
    return apply_lora(model, params), tokenizer


def train_sft(sft: pl.DataFrame, params: TrainSftParams, out: Path, log: Path) -> dict[str, Any]:
    """Trains a model on the SFT set, with checkpoints beside the folder `out`. Writes that folder and, to the folder
    `log`, DVCLive's curves. Returns the report."""
    from transformers.trainer_pt_utils import get_model_param_count
    from trl import SFTConfig

    with main_process_first():
        work = work_folder(out, work_key(Path(__file__), params.model_dump(), _content_hash(sft)))
    config = SFTConfig(  # before the model is loaded: it may say that each process loads a shard
        **trainer_settings(params, work),
        completion_only_loss=params.loss_on == "completion",
        packing=params.packing,
        shuffle_dataset=params.packing,  # or what is packed together would be the questions of one database
    )
    with progress(f"loading the model, tokenizing {sft.height:,} rows", None, shown=is_main_process()):
        model, tokenizer = base_model(params, sft["prompt"] + sft["completion"])
        read = sft.with_columns(prompt=pl.Series(render_prompts(tokenizer, sft["prompt"]), dtype=pl.String))
        rows = read.filter(fits_max_length(read["prompt"] + read["completion"], tokenizer, params.max_length))
        if rows.is_empty():
            raise UserError(f"no row of the SFT set has at most {params.max_length} tokens; raise `max_length`")
        if is_main_process():
            show_rows_left_out(sft.height, rows.height, params.max_length, "train_sft")
        trainer = sft_trainer(model, tokenizer, rows, config)
    lengths = [len(ids) for ids in cast("Dataset", trainer.train_dataset)["input_ids"]]
    trained = get_model_param_count(model, trainable_only=True)
    weights = get_model_param_count(model) - (trained if params.lora else 0)  # LoRA's are merged into the others
    history = train(trainer, lengths, work, log)
    save_model(trainer, tokenizer, params, work, out)
    return {
        "in": sft.height, "trained_on": rows.height, "dropped": {"longer_than_max_length": sft.height - rows.height},
        "weights": weights, "trained_weights": trained, "steps": trainer.state.global_step,
        "first_loss": round(history[0]["loss"], 4), "last_loss": round(history[-1]["loss"], 4),
    }


def _content_hash(sft: pl.DataFrame) -> str:
    return fingerprint(sft.rows())


def sft_trainer(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", rows: pl.DataFrame, config: "SFTConfig"
) -> "SFTTrainer":
    """TRL's trainer of `model` on the columns prompt and completion."""
    from datasets import Dataset
    from trl import SFTTrainer

    data = Dataset.from_dict(rows.select("prompt", "completion").to_dict(as_series=False))
    trainer = SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)
    if config.packing:
        attend_within_examples(trainer)
    score_labels_only(model)
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train_sft", description=__doc__)
    parser.add_argument("--role", choices=["strong", "weak"], required=True)
    role = parser.parse_args().role
    params = read_params(f"train_sft.{role}", TrainSftParams)
    sft = open_dataset(SFT)
    launch("train_sft")
    report = train_sft(sft, params, model_path(f"sft/{role}"), training_log(f"train_sft/{role}"))
    if is_main_process():
        figures = f"{report['steps']:,} steps", f"loss {report['first_loss']} to {report['last_loss']}"
        write_report(f"train_sft {role}", report, report["trained_on"], report["dropped"], *figures)
    exit_worker()


if __name__ == "__main__":
    run_stage(main)
