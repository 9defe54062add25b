"""What a command that a person types needs: paths, which stand in dvc.yaml alone, and all mistakes at once."""

import argparse
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from stages.core.errors import UserError
from stages.core.yaml_files import read_yaml


def fill_in(args: argparse.Namespace, names: Sequence[str], stage: str) -> None:
    """Sets the paths among the arguments that are not given to those of a stage in dvc.yaml.

    Raises UserError where there is no such file: the command is not run from the root of the repository.
    """
    places = {name: name.replace("-", "_") for name in names}
    missing = [name for name in names if getattr(args, places[name]) is None]
    told = stage_flags(stage) if missing else {}
    for name in missing:
        setattr(args, places[name], Path(told[name]))


def stage_flags(stage: str, file: Path = Path("dvc.yaml")) -> dict[str, str]:
    """The flags in the command of a stage, without `--`, and their values; not those that an item of a matrix fills in.

    Raises UserError where there is no such file.
    """
    stages = read_yaml(file, "run this from the root of the repository, or give all paths")["stages"]
    words = shlex.split(stages[stage]["cmd"])
    return {flag[2:]: value for flag, value in pairwise(words) if flag.startswith("--") and "${" not in value}


@contextmanager
def noted(wrong: list[str]) -> Iterator[None]:
    """Keeps the sentences of a UserError, to be told with others."""
    try:
        yield
    except UserError as error:
        wrong += error.sentences
