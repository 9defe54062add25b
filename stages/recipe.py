"""Shows what a recipe changes in params.yaml, or writes it there. A recipe is a part of params.yaml, with comments."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.tokens import CommentToken

from stages.check_params import check_params
from stages.errors import UserError, run_stage
from stages.params import PARAMS_FILE, read_sections


def changes(recipe: dict[str, Any], params: dict[str, Any], above: str = "") -> Iterator[tuple[str, object, object]]:
    """Each param that a recipe changes: its dotted name, the old value and the new one. A mapping of the recipe goes
    into the one of that name; anything else, an empty mapping, and a mapping where there was none, replaces what was
    there."""
    for name, value in recipe.items():
        old = params.get(name)
        if value and isinstance(value, dict) and isinstance(old, dict):
            yield from changes(value, old, f"{above}{name}.")
        elif value != old:
            yield f"{above}{name}", old, value


def merge(recipe: CommentedMap, params: CommentedMap) -> None:
    """Puts the values of a recipe into `params`, by the rule of `changes`; the comment below what it replaces stays."""
    for name, value in recipe.items():
        old = params.get(name)
        if value and isinstance(value, CommentedMap) and isinstance(old, CommentedMap):
            merge(value, old)
        elif value != old:
            before = name if name in params else next(reversed(params), None)
            below = _take_below(params, before) if before else None
            _take_below(recipe, name)
            params[name] = value
            _slots(params, name)[3] = _slots(recipe, name)[3]  # the comment that a block begins with
            _slots(*_last(params, name))[2] = below


def _take_below(values: CommentedMap, name: str) -> CommentToken | None:
    """Removes and returns what stands below a value: ruamel counts it to that value, people to what comes next."""
    slots = _slots(*_last(values, name))
    below: CommentToken | None = slots[2]
    slots[2] = None
    return below


def _slots(values: CommentedMap, name: str) -> list[Any]:
    """The places that ruamel has for the comments around a key; what stands below its value is in the third."""
    slots: list[Any] = values.ca.items.setdefault(name, [None, None, None, None])
    return slots


def _last(values: CommentedMap, name: str) -> tuple[CommentedMap, str]:
    """The last key of all in a block, with the mapping it stands in; the key itself, where its value is no block."""
    value = values[name]
    if isinstance(value, CommentedMap) and value and not value.fa.flow_style():
        return _last(value, next(reversed(value)))
    return values, name


def write_merged(recipe: Path, path: Path) -> None:
    """Writes params.yaml with the recipe's values to `path`; comments stay, but those in a block that is replaced."""
    yaml = YAML()
    yaml.width = 10_000  # no line is broken
    yaml.representer.add_representer(type(None), _null)
    params = yaml.load(PARAMS_FILE.read_text(encoding="utf-8"))
    merge(yaml.load(recipe.read_text(encoding="utf-8")), params)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)


def _null(representer: RoundTripRepresenter, value: None) -> ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.recipe", description=__doc__)
    parser.add_argument("recipe", type=Path, help="a YAML file, as in models/recipes")
    parser.add_argument("--apply", action="store_true", help="write the changes to params.yaml")
    args = parser.parse_args()
    recipe, params = read_sections(args.recipe), read_sections()
    merged = PARAMS_FILE.with_name(f"{PARAMS_FILE.name}.new.partial")
    write_merged(args.recipe, merged)
    try:
        check_params(merged)
        told = [f"{name}: {old} -> {new}" for name, old, new in changes(recipe, params)]
        print(*(told or ["params.yaml has these values already"]), sep="\n")
        if args.apply:
            merged.replace(PARAMS_FILE)
    except UserError as error:
        raise UserError(*(sentence.replace(str(merged), str(args.recipe)) for sentence in error.sentences)) from None
    finally:
        merged.unlink(missing_ok=True)


if __name__ == "__main__":
    run_stage(main)
