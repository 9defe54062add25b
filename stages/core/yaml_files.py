"""Reads YAML files of users, with bounds on size and aliases: no file costs more time than its size allows.

They are read as YAML 1.2, by ruamel as DVC does: DVC writes 1e-06 for `-S x=1e-6`, which is a string in YAML 1.1.
"""

from itertools import chain
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from stages.core.errors import UserError, is_utf8

_LARGEST_FILE = 64_000  # bytes, three times params.yaml: ruamel reads about 50,000 a second
_LARGEST_VALUE = 50_000  # mappings, lists and scalars, those behind each alias counted again
_LARGEST_NUMBER = 1024  # bits; a param refuses more than 64, with its name in the message


class _Constructor(SafeConstructor):
    """As ruamel's, but an error in a value is a YAMLError with its line, and aliases may not multiply the file."""

    def construct_document(self, node: Node) -> Any:
        _weigh(node, {})
        return super().construct_document(node)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError) as error:
            raise _error(node, f"this is no value of its type: {error}") from None
        if isinstance(value, int) and value.bit_length() > _LARGEST_NUMBER:
            raise _error(node, "this number has too many digits")
        return value


def read_yaml(path: Path, fix: str) -> Any:
    """The value of a YAML file. `fix`: the fix in the message where the file is missing.

    Raises UserError where it is missing, cannot be read, is too large, or is no YAML.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise UserError(f"{path} has {size:,} bytes; take comments and values out, down to {_LARGEST_FILE:,}")
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {fix}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a YAML file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); convert it") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML ({error}); correct it") from None


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises ValueError, saying why, where it is no YAML or is too large."""
    if len(text) > _LARGEST_FILE:
        raise ValueError(f"it has {len(text):,} characters, and may have {_LARGEST_FILE:,}")
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)
    except YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _weigh(node: Node, weights: dict[int, int]) -> int:
    """The number of mappings, lists and scalars in a value. Raises ConstructorError where they are too many, where a
    value holds itself, and where UTF-8 cannot hold a text."""
    if isinstance(node, ScalarNode):
        if not is_utf8(node.value):
            raise _error(node, "half a surrogate pair is no text")
        return 1
    weight = weights.get(id(node))
    if weight is None:
        weights[id(node)] = 0  # until it is known; only an alias to itself reads this
        children = chain.from_iterable(node.value) if isinstance(node, MappingNode) else node.value
        weights[id(node)] = weight = 1 + sum(_weigh(child, weights) for child in children)
    if weight == 0:
        raise _error(node, "this value holds an alias to itself")
    if weight > _LARGEST_VALUE:
        raise _error(node, f"with its aliases, this has more than {_LARGEST_VALUE:,} values")
    return weight


def _error(node: Node, message: str) -> ConstructorError:
    return ConstructorError(None, None, message, node.start_mark)
