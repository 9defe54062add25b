"""The flags of commands that execute SQL: how fast and where. None of them changes a result, so none is a param."""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.cache.result_cache import default_folder
from stages.core.errors import UserError
from stages.core.files import partial_of
from stages.execution.worker_pool import Executor, local, usable_cpus, worker_count


def add_execution_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--workers`, `--cache`, `--engine` and `--ray-address`."""
    parser.add_argument("--workers", type=worker_count, default=usable_cpus(), help="number of processes")
    parser.add_argument("--cache", type=Path, default=default_folder(), help="folder of the result cache")
    parser.add_argument(
        "--engine", choices=["local", "ray"], default=os.environ.get("SENSE_ENGINE", "local"),
        help="where queries run: on this machine, or on a Ray cluster (default: $SENSE_ENGINE, or local)",
    )  # fmt: skip
    parser.add_argument(
        "--ray-address", default=os.environ.get("RAY_ADDRESS"),
        help="of the cluster, host:port (default: $RAY_ADDRESS)",
    )  # fmt: skip


def engine_of(args: argparse.Namespace) -> Executor[Any, Any]:
    """The executor that the flags ask for. Raises UserError where the flags do not fit together."""
    if args.engine == "local":
        return local(args.workers)
    if args.engine != "ray":  # from the environment: argparse does not check a default
        raise UserError(f"SENSE_ENGINE is `{args.engine}`; set it to local or ray")
    if not args.ray_address:
        raise UserError("--engine ray needs --ray-address (or RAY_ADDRESS): the host:port of the cluster")
    from stages.execution.ray_engine import cluster

    return cluster(args.ray_address, args.cache)


def check_paths(
    files: Mapping[str, Path], folders: Mapping[str, Sequence[Path]], outputs: Mapping[str, Path | None]
) -> None:
    """Raises UserError naming every path that does not fit its flag: a file or folder that does not exist, and a file
    that cannot be written or is that of another flag. Creates the folders of the files to write."""
    fix = "give the path of one"
    errors = [f"{flag} {path} is no file; {fix}" for flag, path in files.items() if not path.is_file()]
    flags = [(flag, path) for flag, paths in folders.items() for path in paths]
    errors += [f"{flag} {path} is no folder; {fix}" for flag, path in flags if not path.is_dir()]
    taken = {os.path.realpath(path): flag for flag, path in files.items()}  # pathlib's own has an odd error for a loop
    for flag, path in outputs.items():
        if path and (reason := _unwritable(path, taken)):
            errors.append(f"{flag} {path} cannot be written: {reason}; give the path of another file")
        if path:
            taken[os.path.realpath(path)] = flag
    if errors:
        raise UserError(*errors)


def _unwritable(path: Path, taken: Mapping[str, str]) -> str:
    if (place := os.path.realpath(path)) in taken:
        return f"it is the file of {taken[place]}"
    try:
        with suppress(FileNotFoundError):
            path.stat()  # a loop of links is neither there nor missing
        if path.exists() and not path.is_file():
            return "it is there, and no file"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_of(path)
        partial.touch()
        partial.unlink()
    except OSError as error:
        return str(error.strerror)
    return ""
