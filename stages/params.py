"""One section of params.yaml into a strict, frozen model."""

from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.errors import UserError

PARAMS_FILE = Path("params.yaml")
_SHOWN = 60  # characters of a wrong value


class Params(BaseModel):
    """Base of every section: no extra keys, no silent conversion, no infinite number, no change after reading."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


P = TypeVar("P", bound=Params)


def read_params(section: str, model: type[P], path: Path = PARAMS_FILE) -> P:
    """The dotted `section` of the params file as `model`.

    Read as YAML 1.2 (ruamel), because DVC writes 1e-06 for `-S x=1e-6` and YAML 1.1 takes that for a string.
    Raises UserError with one sentence for each wrong key or value.
    """
    values = _section(path, section)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(*(_sentence(path, section, model, detail) for detail in error.errors())) from None


def read_sections(path: Path = PARAMS_FILE) -> dict[str, object]:
    """The whole params file, section to values. Raises UserError where it is missing or is no YAML mapping."""
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run this from the root of the repository, or correct it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a YAML file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); convert it") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML ({' '.join(str(error).split())}); correct it") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no sections; restore it from the last commit")
    return values


def _section(path: Path, section: str) -> object:
    values: object = read_sections(path)
    for name in section.split("."):
        if not isinstance(values, dict) or name not in values:
            raise UserError(f"{path} has no section `{section}`; restore it from the last commit")
        values = values[name]
    return values


def _sentence(path: Path, section: str, model: type[Params], detail: ErrorDetails) -> str:
    field = ".".join(str(part) for part in (section, *detail["loc"]))
    if detail["type"] == "extra_forbidden":
        block = field.rpartition(".")[0]
        return f"{path}: `{field}` is not a param; `{block}` knows: {', '.join(_inner(model, detail['loc'][:-1]))}"
    if detail["type"] == "missing":
        return f"{path}: `{field}` is missing; set it"
    value = repr(detail["input"])
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    return f"{path}: `{field}` is {shown}; {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _inner(model: type[Params], location: tuple[int | str, ...]) -> list[str]:
    """The fields of the model that stands at a location inside `model`."""
    for name in location:
        field = model.model_fields.get(str(name))
        types = (field.annotation, *get_args(field.annotation)) if field else ()
        model = next((part for part in types if isinstance(part, type) and issubclass(part, Params)), model)
    return list(model.model_fields)
