"""Reads YAML files that people write, bounded: none costs more than its size, however it is made.

YAML 1.2 by ruamel, as DVC reads params.yaml: DVC writes 1e-06 for `-S x=1e-6`, and YAML 1.1 takes that for a string.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from stages.core.errors import UserError, is_utf8

_LARGEST_FILE = 64_000  # bytes, three times params.yaml: ruamel reads about 50,000 a second
_LARGEST_VALUE = 50_000  # mappings, lists and scalars, those behind each alias counted again
_LARGEST_NUMBER = 1024  # bits; what is between 64 and these is refused by its param, which a message can name


class _Constructor(SafeConstructor):
    """ruamel's, but what is wrong with a value is a YAMLError with its line, and aliases may not multiply the file."""

    def construct_document(self, node: Node) -> Any:
        _weigh(node, {})
        return super().construct_document(node)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError) as error:
            raise _wrong(node, f"this is no value of its type: {error}") from None
        if isinstance(value, int) and value.bit_length() > _LARGEST_NUMBER:
            raise _wrong(node, "this number has too many digits")
        return value


def read_yaml(path: Path, fix: str) -> Any:
    """The value of a YAML file. `fix`: what a user can do where the file is missing.

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


def _weigh(node: Node, known: dict[int, int]) -> int:
    """The number of mappings, lists and scalars in a value. Raises ConstructorError where they are too many, where a
    value holds itself, and where UTF-8 cannot hold a text."""
    weight = known.get(id(node))
    if weight is None:
        known[id(node)] = 0  # until it is known: only an alias to itself finds it
        known[id(node)] = weight = 1 + sum(_weigh(part, known) for part in _parts(node))
    if weight == 0:
        raise _wrong(node, "this value holds an alias to itself")
    if weight > _LARGEST_VALUE:
        raise _wrong(node, f"with its aliases, this has more than {_LARGEST_VALUE:,} values")
    return weight


def _parts(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for pair in node.value:
            yield from pair
    elif not isinstance(node, ScalarNode):
        yield from node.value
    elif not is_utf8(node.value):
        raise _wrong(node, "half a surrogate pair is no text")


def _wrong(node: Node, message: str) -> ConstructorError:
    return ConstructorError(None, None, message, node.start_mark)
