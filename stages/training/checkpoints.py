"""Checkpoints of a training: which may be resumed from, and what is in one."""

import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.files import fingerprint, sha256_code, sha256_file, write_text
from stages.lm.device import device_identity

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

ROOMS = ("lm", "training")  # all code of ours that shows in the weights, beside the stage itself
_WHOLE = "whole"  # the mark of a checkpoint that was saved to its end
_LIBRARIES = ("accelerate", "peft", "tokenizers", "torch", "transformers", "trl")
_LAUNCHER = ("ACCELERATE_", "FSDP_")  # how `accelerate launch` tells its processes of its config


def work_key(stage: Path, *given: object) -> str:
    """The key of a training's work folder: all that shows in the weights, so that none comes from two versions of it.

    The code, of the `stage` too, the libraries, the processes and threads, the launcher's config, the device, and what
    is `given`: params and data.
    """
    code = [sha256_file(stage), sha256_code(*ROOMS)]
    libraries = [version(name) for name in _LIBRARIES]
    launcher = {name: value for name, value in os.environ.items() if name.startswith(_LAUNCHER)}
    return fingerprint(code, libraries, os.environ.get("WORLD_SIZE", "1"), launcher, device_identity(), *given)


def checkpoint_callback(trainer: "Trainer") -> "TrainerCallback":
    """Marks each checkpoint once all its files are on disk, so that one cut short by a kill is never resumed from.

    Saves nothing at the last step: resumed from there, the trainer would take a step too many in an epoch that is cut
    short. A checkpoint is transformers' own: model or adapters as safetensors, the optimizer's and the random
    generators' states as torch files, which it reads back as plain tensors (`weights_only`) from our own work folder.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Checkpoints(TrainerCallback):
        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            control.should_save &= state.global_step < state.max_steps

        def on_save(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            assert args.output_dir is not None
            trainer.accelerator.wait_for_everyone()  # each process has files in it
            if state.is_world_process_zero:
                write_text(Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE, "")

    return Checkpoints()


def last_checkpoint(work: Path, main: bool) -> str | None:
    """The last whole checkpoint in `work`, if there is one; the `main` process deletes those cut short."""
    steps = [int(mark.parent.name.removeprefix("checkpoint-")) for mark in work.glob(f"checkpoint-*/{_WHOLE}")]
    for folder in work.glob("checkpoint-*") if main else ():
        if not (folder / _WHOLE).exists():
            shutil.rmtree(folder)
    return str(work / f"checkpoint-{max(steps)}") if steps else None
