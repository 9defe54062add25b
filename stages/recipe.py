"""Shows what a recipe changes in params.yaml, or writes it there. A recipe is a part of params.yaml, with comments.

It is applied on top of the demo's values, whatever recipe stood there before: what models/recipes/demo.yaml names and
the recipe does not goes back to the demo's, also where it was changed by hand; all else stays as it is.
"""

import argparse
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.tokens import CommentToken

from stages.check_params import check_params
from stages.core.commands import noted
from stages.core.display import show, visible_line
from stages.core.errors import UserError, naming, run_stage
from stages.core.params import PARAMS_FILE, read_sections

DEMO = Path("models/recipes/demo.yaml")
"""The values that every recipe is applied on top of."""


def changes(old: dict[str, Any], new: dict[str, Any], above: str = "") -> Iterator[tuple[str, object, object]]:
    """Each param that differs between two versions of params.yaml: its dotted name, the old value and the new one
    (None: it is not there)."""
    for name in old | new:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from changes(before, after, f"{above}{name}.")
        elif not _same(before, after):
            yield f"{above}{name}", before, after


def merge(recipe: CommentedMap, params: CommentedMap) -> None:
    """Puts the values of a recipe into `params`: a mapping goes into the one of that name; anything else, an empty
    mapping, and a mapping where there was none, replaces what was there. The comment below it stays."""
    for name, value in recipe.items():
        old = params.get(name)
        if value and isinstance(value, CommentedMap) and isinstance(old, CommentedMap):
            merge(value, old)
        elif name not in params or not _same(value, old):
            before = name if name in params else next(reversed(params), None)
            below = _take_below(params, before) if before else None
            _take_below(recipe, name)
            params[name] = value
            _slots(params, name)[3] = _slots(recipe, name)[3]  # the comment that a block begins with
            slots, place = _below(params, name)
            slots[place] = below


def _same(one: object, other: object) -> bool:
    """Whether two values are written alike: 1 is neither true nor 1.0."""
    return repr(one) == repr(other)


def _take_below(values: CommentedMap, name: str) -> CommentToken | None:
    """Removes and returns what stands below a value: ruamel counts it to that value, people to what comes next."""
    slots, place = _below(values, name)
    below: CommentToken | None = slots[place]
    slots[place] = None
    return below


def _slots(values: CommentedMap, name: str) -> list[Any]:
    """The places that ruamel has for the comments around a key; what stands below its value is in the third."""
    slots: list[Any] = values.ca.items.setdefault(name, [None, None, None, None])
    return slots


def _below(values: CommentedMap, name: str) -> tuple[list[Any], int]:
    """Where ruamel has the comment below a value: with the last key or item of all in a block, else with the key."""
    value = values[name]
    if not value or not isinstance(value, CommentedMap | CommentedSeq) or value.fa.flow_style():
        return _slots(values, name), 2
    if isinstance(value, CommentedMap):
        return _below(value, next(reversed(value)))
    return value.ca.items.setdefault(len(value) - 1, [None, None]), 0


def merged(params: str, recipe: str) -> str:
    """params.yaml with the values of a recipe; its comments stay, but those in a block that is replaced."""
    yaml = YAML()  # as DVC's own: `dvc exp run -S` changes no line but its own
    values, made = yaml.load(params), StringIO()
    merge(yaml.load(recipe), values)
    yaml.dump(values, made)
    return made.getvalue()


def write_merged(recipe: Path, path: Path) -> None:
    """Writes params.yaml with the demo's values and then the recipe's to `path`."""
    text = PARAMS_FILE.read_text(encoding="utf-8")
    for file in (DEMO, recipe):
        try:
            read_sections(file)
        except UserError as error:
            raise UserError(*map(_written, error.sentences)) from None
        text = merged(text, file.read_text(encoding="utf-8"))
    with naming(path):
        path.write_text(text, encoding="utf-8")


def mistakes(path: Path, recipe: Path) -> list[str]:
    """What is wrong in `path`, params.yaml with the recipe's values: a mistake that params.yaml has by itself is told
    of that, any other of the recipe."""
    wrong: list[str] = []
    own: list[str] = []
    with noted(wrong):
        check_params(path)
    with noted(own):
        check_params()
    sentences = [(told.replace(str(path), str(PARAMS_FILE)), told.replace(str(path), str(recipe))) for told in wrong]
    return [of_params if of_params in own else _written(of_recipe) for of_params, of_recipe in sentences]


def _written(sentence: str) -> str:
    """What params.yaml lacks is to be restored, what a recipe lacks is to be written."""
    return sentence.replace("restore it from the last commit", f"write it as {DEMO} does")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.recipe", description=__doc__)
    parser.add_argument("recipe", type=Path, help="a YAML file, as in models/recipes")
    parser.add_argument("--apply", action="store_true", help="write the changes to params.yaml")
    args = parser.parse_args()
    params = read_sections()
    made = PARAMS_FILE.with_name(f"{PARAMS_FILE.name}.new.partial")
    try:
        write_merged(args.recipe, made)
        if wrong := mistakes(made, args.recipe):
            raise UserError(*wrong)
        told = [visible_line(f"{name}: {old} -> {new}") for name, old, new in changes(params, read_sections(made))]
        show("\n".join(told or ["params.yaml has these values already"]))
        if args.apply:
            made.replace(PARAMS_FILE)
            show(f"written to {PARAMS_FILE}")
    finally:
        made.unlink(missing_ok=True)


if __name__ == "__main__":
    run_stage(main)
