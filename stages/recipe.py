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
    into the one of that name; anything else, and a mapping where there was none, replaces what was there."""
    for name, value in recipe.items():
        old = params.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from changes(value, old, f"{above}{name}.")
        elif value != old:
            yield f"{above}{name}", old, value


def merge(recipe: CommentedMap, params: CommentedMap) -> None:
    """Puts the values of a recipe into `params`, by the rule of `changes`; the comment below what it replaces stays."""
    for name, value in recipe.items():
        old = params.get(name)
        if isinstance(value, CommentedMap) and isinstance(old, CommentedMap):
            merge(value, old)
        else:
            params[name] = value
            if isinstance(old, CommentedMap) and (below := _comment_below(old)):
                params.ca.items[name] = [None, None, below, None]


def _comment_below(values: CommentedMap) -> CommentToken | None:
    """What stands below the last value of a block: to ruamel it belongs to that value, to people to what comes next."""
    last = next(reversed(values), None)
    if isinstance(values.get(last), CommentedMap) and len(values[last]):
        return _comment_below(values[last])
    held = values.ca.items.get(last)
    return held[2] if held else None


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
