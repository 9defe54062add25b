"""What both trainings share: the trainer's settings, resuming after a kill, and what is kept of the trained model."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from stages.core.errors import UserError
from stages.core.files import move_folder
from stages.lm.loading import load_model
from stages.training.batch_order import order_batches
from stages.training.checkpoints import checkpoint_callback, last_checkpoint
from stages.training.dvclive import live_callback
from stages.training.lora import merged, with_adapters
from stages.training.params import TrainingParams

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer


def trainer_settings(params: TrainingParams, work: Path) -> dict[str, Any]:
    """Arguments for each of TRL's configs; checkpoints lie in `work`.

    Raises UserError where `batch_size` is not a number of whole micro batches on every process. All that TRL's defaults
    leave to the machine is set: bf16 and gradient checkpointing are params, as they show in the weights.
    """
    import torch

    cpu = not torch.cuda.is_available()
    micro_batch, accumulation = _shares(params)
    return {
        "output_dir": str(work),
        "seed": params.seed,
        "data_seed": params.seed,
        "num_train_epochs": params.epochs,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": params.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": params.warmup,  # below 1 it is a share of the steps
        "adam_beta2": 0.98,  # 0.999 averages over a thousand steps: longer than these trainings take to change
        "max_length": params.max_length,
        "save_strategy": "steps",
        "save_steps": params.save_steps,
        "save_total_limit": 2,
        "logging_steps": 10,
        "logging_first_step": True,  # so that a training of a few steps has a curve too
        "report_to": "none",
        "use_cpu": cpu,
        "bf16": params.precision == "bfloat16",
        "gradient_checkpointing": params.gradient_checkpointing,
        "dataloader_pin_memory": not cpu,
    }


def _shares(params: TrainingParams) -> tuple[int, int]:
    """Rows of a micro batch, and micro batches a step on each process."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro_batch = params.micro_batch or max(params.batch_size // processes, 1)
    if params.batch_size % (micro_batch * processes):
        raise UserError(
            f"`batch_size` is {params.batch_size}, which is not a multiple of {micro_batch * processes} (processes: "
            f"{processes}, rows of each at once: {micro_batch}); change it, `micro_batch` or the number of processes"
        )
    return micro_batch, params.batch_size // (micro_batch * processes)


def load_for_training(
    source: str | Path, revision: str | None, params: TrainingParams
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model to train and its tokenizer: float32 weights, or with LoRA a peft model, its frozen base in `precision`
    and its adapters in float32. Raises UserError where the model cannot be loaded."""
    import torch

    half = params.lora is not None and params.precision == "bfloat16"
    model, tokenizer = load_model(source, revision, dtype=torch.bfloat16 if half else torch.float32)
    return adapted(model, params), tokenizer


def adapted(model: "PreTrainedModel", params: TrainingParams) -> "PreTrainedModel":
    """The model as it is, or with the adapters of `lora`."""
    return model if params.lora is None else with_adapters(model, params.lora, params.seed)


def fits(texts: pl.Series, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> pl.Series:
    """Whether each text and its end token have at most `max_length` tokens: TRL would cut a longer one silently."""
    return pl.Series([len(ids) < max_length for ids in tokenizer(texts.to_list())["input_ids"]], dtype=pl.Boolean)


def train(trainer: "Trainer", lengths: list[int], work: Path, live: Path) -> list[dict[str, float]]:
    """Trains from the last whole checkpoint in `work`, or from the start. Returns the logged steps in order.

    `lengths`: tokens of each row of the trainer's dataset; `live`: the folder of DVCLive's metrics and plots. A
    training that was killed ends with the bytes of one that never was.
    """
    order_batches(trainer, lengths)
    trainer.add_callback(checkpoint_callback(trainer))
    trainer.add_callback(live_callback(live))
    trainer.train(resume_from_checkpoint=last_checkpoint(work, trainer.is_world_process_zero()))
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def save_model(
    trainer: "Trainer", tokenizer: "PreTrainedTokenizerBase", params: TrainingParams, work: Path, out: Path
) -> None:
    """Moves weights (safetensors, in `precision`) and tokenizer into `out`, and deletes the work folder.

    LoRA is merged into the weights, and `out/adapter/` holds the adapters. Every process has to call this, since the
    weights may lie in shards; one writes.
    """
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        made = work / "model"
        shutil.rmtree(made, ignore_errors=True)
        _save_weights(trainer.accelerator.unwrap_model(trainer.model), state, params, made)
        tokenizer.save_pretrained(made)
        move_folder(made, out)
        shutil.rmtree(work)
    trainer.accelerator.wait_for_everyone()


def _save_weights(trained: "PreTrainedModel", state: dict[str, Any], params: TrainingParams, made: Path) -> None:
    """Puts a model together from `state` alone: `trained` may hold no more than a shard of its weights."""
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    with torch.device("meta"):
        model = MODEL_FOR_CAUSAL_LM_MAPPING[type(trained.config)](trained.config)  # type: ignore[operator]
    model.generation_config = trained.generation_config
    if params.lora is not None:
        model = merged(model, state, params.lora, made / "adapter")
    else:
        model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.to(getattr(torch, params.precision)).save_pretrained(made)
