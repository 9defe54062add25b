"""Reads the content files of the demo corpus: YAML into strict models, mistakes as sentences."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from stages.core.errors import UserError
from stages.core.yaml_files import read_yaml


class Content(BaseModel):
    """Base of what a content file holds: no extra keys, no silent conversion, no change after reading."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


C = TypeVar("C", bound=Content)


def read_content(path: Path, model: type[C]) -> C:
    """The YAML file as `model`. Raises UserError with one sentence for each mistake, naming the file and the field."""
    values = read_yaml(path, "restore it from the last commit")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(*(_sentence(path, detail["loc"], detail["msg"]) for detail in error.errors())) from None


def _sentence(path: Path, location: tuple[int | str, ...], message: str) -> str:
    field = ".".join(str(part) for part in location)
    return f"{path}: {f'`{field}`: ' if field else ''}{message.removeprefix('Value error, ')}; correct it"
