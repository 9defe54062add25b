"""Training on several processes: the stage hands itself over to `accelerate launch`."""

import atexit
import os
import sys
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING

from stages.core.errors import UserError, run_stage
from stages.core.params import read_sections

if TYPE_CHECKING:
    from accelerate import PartialState

_CONFIG = "SENSE_ACCELERATE"


def launch(stage: str) -> None:
    """Replaces this process by `accelerate launch` of `stages.<stage>` if SENSE_ACCELERATE names a config file.

    This is an environment variable, as where and how fast a model trains is no param. Without it, one process trains,
    on one GPU at most. Raises UserError if the file is no config of accelerate, or needs what is not installed.
    """
    file = os.environ.pop(_CONFIG, None)  # the launched processes must not launch again
    if not file:
        if "LOCAL_RANK" not in os.environ:
            os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # the trainer would split batches over all GPUs
        return
    if not Path(file).is_file():
        raise UserError(f"{_CONFIG} is {file}, which does not exist; name a file such as models/accelerate/fsdp.yaml")
    try:
        config = read_sections(Path(file))
    except UserError as error:
        raise UserError(f"{_CONFIG} is {file}, and {error}") from None
    if "distributed_type" not in config:
        raise UserError(f"{_CONFIG} is {file}, which has no `distributed_type`; compare models/accelerate/fsdp.yaml")
    if "deepspeed_config" in config and find_spec("deepspeed") is None:
        raise UserError(f"{_CONFIG} is {file}, which needs DeepSpeed; install it with `pip install '.[deepspeed]'`")
    command = [__name__, "--config_file", file, "-m", f"stages.{stage}", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", *command])


def main() -> None:
    """Runs `accelerate launch` with the arguments of this process.

    If the launched stage ends with a user's mistake, which it has printed, exits with status 2 and no traceback.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        launch_command(launch_command_parser().parse_args())
    except (CalledProcessError, ChildFailedError) as error:
        status = error.returncode if isinstance(error, CalledProcessError) else error.get_first_failure()[1].exitcode
        if status != 2:
            raise
        sys.exit(2)
    except ValueError as error:  # the stage runs in other processes, so this is about the config
        raise UserError(f"accelerate refuses the config that {_CONFIG} names: {error}") from None


def is_main_process() -> bool:
    """Whether this process writes the outputs: it is the only one, or the first of several."""
    return bool(_partial_state().is_main_process)


def main_process_first() -> AbstractContextManager[None]:
    """A context that the main process runs first, then the others.

    Call this before any other distributed work: it also makes a process that fails leave the process group.
    """
    atexit.register(_destroy_process_group)
    first: AbstractContextManager[None] = _partial_state().main_process_first()
    return first


def exit_worker() -> None:
    """Ends one of several processes once all have reached this call; does nothing if there is only one.

    Skips Python's own shutdown: a gloo thread that needs the interpreter during shutdown aborts the process (seen in 1
    of 28 runs on busy cores, after all work was done).
    """
    import torch

    if torch.distributed.is_initialized():
        _partial_state().wait_for_everyone()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _partial_state() -> "PartialState":
    """accelerate's state of this process among the others; it does not find out by itself that there is no GPU."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def _destroy_process_group() -> None:
    """The threads of a process group may abort a process that ends with them."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    run_stage(main)
