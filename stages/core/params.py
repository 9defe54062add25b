"""One section of params.yaml into a strict, frozen model."""

from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from stages.core.errors import UserError, short
from stages.core.yaml_files import read_yaml

PARAMS_FILE = Path("params.yaml")


class Params(BaseModel):
    """Base of every section: no extra keys, no silent conversion, no infinite number, no change after reading."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


P = TypeVar("P", bound=BaseModel)


def read_params(section: str, model: type[P], path: Path = PARAMS_FILE) -> P:
    """The dotted `section` of the params file as `model`. Raises UserError with one sentence for each wrong key or
    value."""
    return parse_section(read_sections(path), section, model, path)


def read_sections(path: Path = PARAMS_FILE) -> dict[str, object]:
    """The whole params file, section to values. Raises UserError where it is missing or is no YAML mapping."""
    values = read_yaml(path, "run this from the root of the repository, or correct it")
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UserError(f"{path} holds no sections; restore it from the last commit")
    return values


def parse_section(sections: dict[str, object], section: str, model: type[P], path: Path = PARAMS_FILE) -> P:
    """The dotted `section` of the values that `path` holds, as `read_params` gives it."""
    values: object = sections
    for name in section.split("."):
        if not isinstance(values, dict) or name not in values:
            raise UserError(f"{path} has no section `{section}`; restore it from the last commit")
        values = values[name]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(*(_sentence(path, section, model, detail) for detail in error.errors())) from None


def _sentence(path: Path, section: str, model: type[BaseModel], detail: ErrorDetails) -> str:
    field = ".".join(str(part) for part in (section, *detail["loc"]))
    if detail["type"] == "extra_forbidden":
        for name in detail["loc"][:-1]:  # down to the model that the field stands in
            inner = model.model_fields.get(str(name))
            types = (inner.annotation, *get_args(inner.annotation)) if inner else ()
            model = next((part for part in types if isinstance(part, type) and issubclass(part, BaseModel)), model)
        block = field.rpartition(".")[0]
        return f"{path}: `{field}` is not a param; `{block}` knows: {', '.join(model.model_fields)}"
    if detail["type"] == "missing":
        return f"{path}: `{field}` is missing; set it"
    return f"{path}: `{field}` is {short(detail['input'])}; {detail['msg'][0].lower()}{detail['msg'][1:]}"
