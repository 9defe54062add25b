"""What both trainings share: the trainer's settings, resuming after a kill, and what is kept of the trained model."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from stages.files import move_folder, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback

_WHOLE = "whole"  # the mark of a checkpoint that was saved to its end


def trainer_settings(
    work: Path, *, seed: int, epochs: float, batch_size: int, learning_rate: float, warmup: float, save_steps: int
) -> dict[str, Any]:
    """Arguments for `SFTConfig` and `DPOConfig`.

    `warmup` is a share of the steps, `save_steps` the steps between checkpoints in `work`. bf16 only on an accelerator
    that has it: TRL's default of bf16 and gradient checkpointing everywhere changes the weights on a CPU.
    """
    import torch

    cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(work),
        "seed": seed,
        "data_seed": seed,
        "num_train_epochs": epochs,
        "per_device_train_batch_size": batch_size,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup,
        "adam_beta2": 0.98,  # 0.999 averages over a thousand steps: longer than these trainings take to change
        "save_strategy": "steps",
        "save_steps": save_steps,
        "save_total_limit": 2,
        "logging_steps": 10,
        "logging_first_step": True,  # so that a training of a few steps has a curve too
        "report_to": "none",
        "use_cpu": cpu,
        "bf16": not cpu and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": not cpu,
        "dataloader_pin_memory": not cpu,
    }


def fits(texts: pl.Series, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> pl.Series:
    """Whether each text and its end token have at most `max_length` tokens: TRL would cut a longer one silently."""
    return pl.Series([len(ids) < max_length for ids in tokenizer(texts.to_list())["input_ids"]], dtype=pl.Boolean)


def resumable_callback() -> "TrainerCallback":
    """Makes a killed and resumed training end with the bytes of one that was never killed.

    Marks each checkpoint once all its files are on disk, so that one cut short by a kill is never resumed from. Gives
    each epoch its own generator for the order of the data: a length-grouped sampler draws from torch's global one,
    whose state in a later epoch is not that of a resumed run. Saves nothing at the last step: resumed from there, the
    trainer would take a step too many in an epoch that is cut short.
    """
    import torch
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Resumable(TrainerCallback):
        def on_epoch_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
        ) -> None:
            generator = torch.Generator().manual_seed(args.seed + int(state.epoch or 0))
            given["train_dataloader"].batch_sampler.sampler.generator = generator

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            control.should_save &= state.global_step < state.max_steps

        def on_save(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            assert args.output_dir is not None
            write_text(Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE, "")

    return Resumable()


def train(trainer: "Trainer", work: Path) -> list[dict[str, float]]:
    """Trains from the last whole checkpoint in `work`, or from the start. Returns the logged steps in order."""
    trainer.add_callback(resumable_callback())
    trainer.train(resume_from_checkpoint=_last_checkpoint(work))
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def _last_checkpoint(work: Path) -> str | None:
    steps = [int(mark.parent.name.removeprefix("checkpoint-")) for mark in work.glob(f"checkpoint-*/{_WHOLE}")]
    for folder in work.glob("checkpoint-*"):
        if not (folder / _WHOLE).exists():
            shutil.rmtree(folder)
    return str(work / f"checkpoint-{max(steps)}") if steps else None


def save_model(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", work: Path, out: Path) -> None:
    """Moves weights (safetensors) and tokenizer into `out`, and deletes the work folder with its checkpoints."""
    made = work / "model"
    shutil.rmtree(made, ignore_errors=True)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    move_folder(made, out)
    shutil.rmtree(work)


def loss_rows(history: list[dict[str, float]], columns: list[str]) -> str:
    """The logged steps as CSV for `dvc plots`: `step` and `columns`, six decimals, no times."""
    lines = [",".join(["step", *(name.replace("/", "_") for name in columns)])]
    lines += [",".join([str(entry["step"]), *(f"{entry[name]:.6f}" for name in columns)]) for entry in history]
    return "\n".join(lines) + "\n"
