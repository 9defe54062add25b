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
    """Replaces this process by `accelerate launch` of `stages.<stage>`, where SENSE_ACCELERATE names its config file.

    Where and how fast a model trains is no param, so it is an environment variable. Without it one process trains, on
    one GPU where there are more. Raises UserError where the file is no config of accelerate's, or what it asks for is
    not installed.
    """
    file = os.environ.pop(_CONFIG, None)  # what is launched must not launch again
    if not file:
        if "LOCAL_RANK" not in os.environ:
            os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # the trainer would split each batch over all it sees
        return
    if not Path(file).is_file():
        raise UserError(f"{_CONFIG} is {file}, which does not exist; name a file such as models/accelerate/fsdp.yaml")
    try:
        config = read_sections(Path(file))
    except UserError as error:
        raise UserError(f"{_CONFIG} is {file}, and {error}") from None
    if "distributed_type" not in config:
        raise UserError(f"{_CONFIG} is {file}, which tells no `distributed_type`; compare models/accelerate/fsdp.yaml")
    if "deepspeed_config" in config and find_spec("deepspeed") is None:
        raise UserError(f"{_CONFIG} is {file}, which needs DeepSpeed; install it with `pip install '.[deepspeed]'`")
    command = [__name__, "--config_file", file, "-m", f"stages.{stage}", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", *command])


def main() -> None:
    """`accelerate launch` with the arguments of this process. A mistake of the user's, which the stage has told, ends
    it with status 2 and without accelerate's traceback."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        launch_command(launch_command_parser().parse_args())
    except (CalledProcessError, ChildFailedError) as error:
        status = error.returncode if isinstance(error, CalledProcessError) else error.get_first_failure()[1].exitcode
        if status != 2:
            raise
        sys.exit(2)
    except ValueError as error:  # all else runs in processes of its own
        raise UserError(f"accelerate refuses the config that {_CONFIG} names: {error}") from None


def main_process() -> bool:
    """Whether this process writes: the only one, or the first of several."""
    return bool(_state().is_main_process)


def main_process_first() -> AbstractContextManager[None]:
    """What stands under it runs in the main process, then in the others. To be called first: it also sees to it that
    a process that fails lets go of the others."""
    atexit.register(_let_go)
    first: AbstractContextManager[None] = _state().main_process_first()
    return first


def leave() -> None:
    """Ends a process that trained beside others, once all have come this far; does nothing where there was one.

    At once, and not by Python's way out: a thread of gloo's that still asks for the interpreter while that is torn
    down aborts the process (seen in 1 of 28 runs on busy cores, after all was done).
    """
    import torch

    if torch.distributed.is_initialized():
        _state().wait_for_everyone()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _state() -> "PartialState":
    """accelerate's, of this process among the others; on a CPU it has to be told so."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def _let_go() -> None:
    """A process that still has threads for the others at its end may be aborted by them."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    run_stage(main)
