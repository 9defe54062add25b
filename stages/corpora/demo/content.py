"""Reads the content files of the demo corpus (YAML) into strict models."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from stages.core.errors import UserError
from stages.core.params import Params
from stages.core.yaml_files import read_yaml

C = TypeVar("C", bound=Params)


def read_content(path: Path, model: type[C]) -> C:
    """Reads a YAML file as `model`. Raises UserError with a sentence for each mistake, naming file and field."""
    values = read_yaml(path, "restore it from the last commit")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(*(_sentence(path, detail["loc"], detail["msg"]) for detail in error.errors())) from None


def _sentence(path: Path, location: tuple[int | str, ...], message: str) -> str:
    field = ".".join(str(part) for part in location)
    return f"{path}: {f'`{field}`: ' if field else ''}{message.removeprefix('Value error, ')}; correct it"
