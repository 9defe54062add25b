"""Checkpoints of a training, and which of them a later run may resume from."""

import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.files import fingerprint, sha256_code, sha256_file, write_text
from stages.lm.device import device_identity

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

ROOMS = ("lm", "training")  # all code of ours that the weights depend on, beside the stage itself
_COMPLETE = "whole"  # an empty file in each checkpoint that was saved completely
_LIBRARIES = ("accelerate", "peft", "tokenizers", "torch", "transformers", "trl")
_LAUNCHER = ("ACCELERATE_", "FSDP_")  # how `accelerate launch` passes its config to its processes


def work_key(stage: Path, *inputs: object) -> str:
    """The key of a training's work folder: a hash of everything that the weights depend on.

    That is the code (with the file of the `stage`), the libraries, the number of processes and threads, the launcher's
    config, the device, and the `inputs`: params and data. A run resumes only from checkpoints with the same key.
    """
    code = [sha256_file(stage), sha256_code(*ROOMS)]
    libraries = [version(name) for name in _LIBRARIES]
    launcher = {name: value for name, value in os.environ.items() if name.startswith(_LAUNCHER)}
    return fingerprint(code, libraries, os.environ.get("WORLD_SIZE", "1"), launcher, device_identity(), *inputs)


def checkpoint_callback(trainer: "Trainer") -> "TrainerCallback":
    """Marks each checkpoint once all its files are on disk, so that a run never resumes from an incomplete one.

    Saves none at the last step: resuming there, the trainer would take a step too many in a partial epoch. Checkpoints
    have the format of transformers: model or adapters as safetensors, and the states of the optimizer and the random
    generators as torch files, which are read as plain tensors (`weights_only`) and only from our own work folder.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Checkpoints(TrainerCallback):
        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            control.should_save &= state.global_step < state.max_steps

        def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
            assert args.output_dir is not None
            trainer.accelerator.wait_for_everyone()  # each process has files in it
            if state.is_world_process_zero:
                write_text(Path(args.output_dir) / f"checkpoint-{state.global_step}" / _COMPLETE, "")

    return Checkpoints()


def last_checkpoint(work: Path, main: bool) -> str | None:
    """The last complete checkpoint in `work`, if there is one; the `main` process deletes incomplete ones."""
    steps = [int(mark.parent.name.removeprefix("checkpoint-")) for mark in work.glob(f"checkpoint-*/{_COMPLETE}")]
    for folder in work.glob("checkpoint-*") if main else ():
        if not (folder / _COMPLETE).exists():
            shutil.rmtree(folder)
    return str(work / f"checkpoint-{max(steps)}") if steps else None
