"""Both trainings: the trainer's settings, resuming after a kill, and saving the trained model."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from stages.core.errors import UserError
from stages.core.files import move_folder
from stages.lm.loading import load_model
from stages.training.batch_order import order_batches
from stages.training.checkpoints import checkpoint_callback, last_checkpoint
from stages.training.dvclive import live_callback
from stages.training.lora import add_adapters, merge_adapters
from stages.training.params import TrainingParams
from stages.training.run_estimate import show_size, time_callback
from stages.training.step_progress import progress_callback

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer


def trainer_settings(params: TrainingParams, work: Path) -> dict[str, Any]:
    """The arguments of each of TRL's configs; checkpoints are saved in `work`.

    Sets everything that TRL's defaults derive from the machine: bf16 and gradient checkpointing are params, as the
    weights depend on them. Raises UserError unless `batch_size` is a multiple of micro batch times processes.
    """
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of the shards of each checkpoint
    cpu = not torch.cuda.is_available()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro_batch = params.micro_batch or max(params.batch_size // processes, 1)
    if params.batch_size % (micro_batch * processes):
        raise UserError(
            f"`batch_size` is {params.batch_size}, which is not a multiple of {micro_batch * processes} (processes: "
            f"{processes}, rows of each at once: {micro_batch}); change it, `micro_batch` or the number of processes"
        )
    return {
        "output_dir": str(work),
        "seed": params.seed,
        "data_seed": params.seed,
        "num_train_epochs": params.epochs,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": params.batch_size // (micro_batch * processes),
        "learning_rate": params.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": params.warmup,  # a value below 1 is a fraction of the steps
        "adam_beta2": 0.98,  # 0.999 averages over a thousand steps: too slow for trainings this short
        "max_length": params.max_length,
        "save_strategy": "steps",
        "save_steps": params.save_steps,
        "save_total_limit": 2,
        "logging_steps": 10,
        "logging_first_step": True,  # so that a training of a few steps has a curve too
        "report_to": "none",
        "disable_tqdm": True,  # `progress_callback` shows the steps
        "use_cpu": cpu,
        "bf16": params.precision == "bfloat16",
        "gradient_checkpointing": params.gradient_checkpointing,
        "dataloader_pin_memory": not cpu,
    }


def load_for_training(
    source: str | Path, revision: str | None, params: TrainingParams
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Loads the model to train and its tokenizer. Raises UserError as `load_model` does.

    The weights are float32; with LoRA the frozen ones are in `precision`, and the adapters in float32.
    """
    import torch

    half = params.lora is not None and params.precision == "bfloat16"
    model, tokenizer = load_model(source, revision, dtype=torch.bfloat16 if half else torch.float32)
    return apply_lora(model, params), tokenizer


def apply_lora(model: "PreTrainedModel", params: TrainingParams) -> "PreTrainedModel":
    """Adds the adapters of `params.lora`; returns the model unchanged if that is None."""
    return model if params.lora is None else add_adapters(model, params.lora, params.seed)


def fits_max_length(texts: pl.Series, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> pl.Series:
    """Whether each text has at most `max_length` tokens with its end token: TRL truncates longer ones silently."""
    return pl.Series([len(ids) < max_length for ids in tokenizer(texts.to_list())["input_ids"]], dtype=pl.Boolean)


def train(
    trainer: "Trainer", lengths: list[int], work: Path, live: Path, samples: int = 1
) -> list[dict[str, float]]:  # fmt: skip
    """Trains from the last complete checkpoint in `work`, or from the start. Returns the logged steps in order.

    `lengths`: the tokens of each row of the trainer's dataset. `live`: the folder of DVCLive's metrics and plots.
    `samples`: the completions of each row that GRPO samples. A training that is killed and resumed gives the same bytes
    as an uninterrupted one.
    """
    from transformers import PrinterCallback

    order_batches(trainer, lengths, samples)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(checkpoint_callback(trainer))
    trainer.add_callback(live_callback(live))
    label = f"training {live.name.removeprefix('train_')}"
    show_size(trainer, lengths, samples, label)
    trainer.add_callback(time_callback(lengths, samples, label))
    with ExitStack() as stack:
        trainer.add_callback(progress_callback(label, stack))
        trainer.train(resume_from_checkpoint=last_checkpoint(work, trainer.is_world_process_zero()))
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def save_model(
    trainer: "Trainer", tokenizer: "PreTrainedTokenizerBase", params: TrainingParams, work: Path, out: Path
) -> None:
    """Saves weights (safetensors, in `precision`) and tokenizer to the folder `out`, and deletes the work folder.

    Adapters are merged into the weights, and also saved to `out/adapter/`. Every process has to call this, as each may
    hold a shard of the weights; the main one writes.
    """
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        folder = work / "model"
        shutil.rmtree(folder, ignore_errors=True)
        trained = trainer.accelerator.unwrap_model(trainer.model)
        with torch.device("meta"):  # a model of `state` alone, as `trained` may hold only a shard of the weights
            # transformers types its lazy mapping as one of names, not of classes
            model = MODEL_FOR_CAUSAL_LM_MAPPING[type(trained.config)](trained.config)  # type: ignore[operator]
        model.generation_config = trained.generation_config
        if params.lora is not None:
            model = merge_adapters(model, state, params.lora, folder / "adapter")
        else:
            model.load_state_dict(state, assign=True)
        model.tie_weights()
        model.to(getattr(torch, params.precision)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        move_folder(folder, out)
        shutil.rmtree(work)
    trainer.accelerator.wait_for_everyone()
