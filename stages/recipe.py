"""Shows what a recipe changes in params.yaml, or writes it there. A recipe is a part of params.yaml, with comments."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

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


def merge(recipe: dict[str, Any], params: dict[str, Any]) -> None:
    """Puts the values of a recipe into `params`, by the rule of `changes`."""
    for name, value in recipe.items():
        if isinstance(value, dict) and isinstance(params.get(name), dict):
            merge(value, params[name])
        else:
            params[name] = value


def write_merged(recipe: dict[str, Any], path: Path) -> None:
    """Writes params.yaml with the recipe's values, its comments kept, to `path`."""
    yaml = YAML()
    yaml.width = 10_000  # no line is broken
    yaml.representer.add_representer(type(None), _null)
    params = yaml.load(PARAMS_FILE.read_text(encoding="utf-8"))
    merge(recipe, params)
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
    write_merged(recipe, merged)
    try:
        check_params(merged)
        for name, old, new in changes(recipe, params):
            print(f"{name}: {old} -> {new}")
        if args.apply:
            merged.replace(PARAMS_FILE)
    except UserError as error:
        raise UserError(*(sentence.replace(str(merged), str(args.recipe)) for sentence in error.sentences)) from None
    finally:
        merged.unlink(missing_ok=True)


if __name__ == "__main__":
    run_stage(main)
