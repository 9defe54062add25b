"""What a training will take, said on stderr: its size and memory before it starts, its time after a few steps."""

import math
import os
import platform
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

from stages.core.display import show
from stages.training.batch_order import rows_per_step, tokens_of_steps

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

MEASURED_STEPS = 4
"""Steps whose time is taken, after the first one, which is slower."""
LEAST_SECONDS = 30.0
"""Nothing is said of the time of a training that takes less."""
_MOST_LEFT_OUT = 0.1


def show_size(trainer: "Trainer", lengths: list[int], samples: int, label: str) -> None:
    """Shows rows, tokens, steps, weights and the memory that these take, in the main process. `samples`: completions of
    each row, in GRPO.

    Warns where that is more than the machine or the GPU has. Several processes may share the weights or each hold them
    all, so for these no memory is told.
    """
    from transformers.trainer_pt_utils import get_model_param_count

    if not trainer.is_world_process_zero():
        return
    model: Any = trainer.model
    weights = get_model_param_count(model)  # also where DeepSpeed has given this process a shard of them
    batch_size = rows_per_step(trainer.args, samples)
    steps = math.ceil(trainer.args.num_train_epochs * math.ceil(len(lengths) / batch_size))
    tokens = f"{sum(lengths) / len(lengths):,.0f} tokens on average, {max(lengths):,} at most"
    size = f"{len(lengths):,} rows of {tokens}; {steps:,} steps of {batch_size} rows; {weights:,} weights"
    if trainer.args.world_size > 1:
        show(f"{label}: {size}", sys.stderr)
        return
    needed, available = state_bytes(model), device_bytes(model)
    memory = f"{_gigabytes(needed)} of {_gigabytes(available)} of memory for weights, gradients and Adam's moments"
    show(f"{label}: {size}; {memory}, activations come on top", sys.stderr)
    if trainer.args.bf16 and emulates_bfloat16(model.device.type):
        shown = "this processor has no instructions for bfloat16, so a step takes about three times as long"
        show(f"{label}: {shown}; set `precision` to float32", sys.stderr)
    if needed > available:
        fix = "set `lora` and `precision: bfloat16`, take a smaller model, or several GPUs (SENSE_ACCELERATE)"
        show(f"{label}: this will probably end for want of memory; {fix}", sys.stderr)


def time_callback(lengths: list[int], samples: int, label: str) -> "TrainerCallback":
    """Shows the time of a step and of all steps that are left, and the peak of memory, after the first few steps.

    Batches hold rows of like lengths, and those measured may be short or long: the time goes by tokens, so that it is
    that of a mean step.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Time(TrainerCallback):
        first = 0  # the step of the checkpoint that a resumed training starts at
        since = 0.0

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self.first = state.global_step

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            done = state.global_step - self.first
            if done == 1:
                self.since = time.perf_counter()
            if done != 1 + MEASURED_STEPS or not state.is_world_process_zero:
                return
            batch_size = rows_per_step(args, samples)
            tokens = tokens_of_steps(lengths, batch_size, args.seed, range(self.first + 1, state.global_step))
            seconds = (time.perf_counter() - self.since) / tokens * sum(lengths) / len(lengths) * batch_size
            steps = state.max_steps - self.first
            if steps * seconds >= LEAST_SECONDS:
                step = f"about {seconds:.2g} s a step" if seconds < 100 else f"about {seconds:,.0f} s a step"
                whole = f"{duration(steps * seconds)} for {steps:,} steps"
                show(f"{label}: {step}, {whole}; peak memory so far {_gigabytes(peak_bytes())}", sys.stderr)

    return Time()


def show_rows_left_out(rows: int, fitting: int, max_length: int, label: str) -> None:
    """Shows, where more than a tenth of the rows are longer than `max_length`, that these train nothing."""
    if rows - fitting > _MOST_LEFT_OUT * rows:
        counts = f"{rows - fitting:,} of {rows:,} rows have more than {max_length:,} tokens, and are left out"
        show(f"{label}: {counts}; raise `max_length`, or show less in prompts (`prompts`)", sys.stderr)


def state_bytes(model: Any) -> int:
    """The bytes of all weights and, for those that are trained, of the gradient and of Adam's two moments."""
    copies = {True: 4, False: 1}
    return sum(int(tensor.nbytes) * copies[tensor.requires_grad] for tensor in model.parameters())


def device_bytes(model: Any) -> int:
    """The memory of the GPU that the model is on, or of the machine."""
    import torch

    if model.device.type == "cuda":
        return torch.cuda.mem_get_info(model.device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def emulates_bfloat16(device: str) -> bool:
    """Whether bfloat16 is emulated on `device`: on a CPU of x86 with neither AVX512-BF16 nor AMX."""
    import torch

    known: Any = torch.cpu  # its functions with an underscore are not typed
    native = known._is_avx512_bf16_supported() or known._is_amx_tile_supported()
    return device == "cpu" and platform.machine() in ("x86_64", "AMD64") and not native


def peak_bytes() -> int:
    """The most memory that this process has held so far, on the GPU if there is one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def duration(seconds: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
