"""Shows what a recipe changes in params.yaml, or writes it there. A recipe is a part of params.yaml, with comments.

Every key in models/recipes/demo.yaml is first reset to its demo value, even where it was changed by hand; then the
recipe's values are applied. So the result does not depend on the recipe before. All other params stay as they are.
"""

import argparse
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node

from stages.check_params import check_params
from stages.core.display import show, visible_line
from stages.core.errors import UserError, collect_errors, name_in_errors, run_stage
from stages.core.params import PARAMS_FILE, read_sections

DEMO = Path("models/recipes/demo.yaml")
"""The values that every recipe is applied on top of."""


def changes(old: dict[str, Any], new: dict[str, Any], above: str = "") -> Iterator[tuple[str, object, object]]:
    """Each param that differs between two versions of params.yaml: its dotted name, the old and the new value. A param
    that is missing has the value None."""
    for name in old | new:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from changes(before, after, f"{above}{name}.")
        elif not _same(before, after):
            yield f"{above}{name}", before, after


def merged(params: str, recipe: str) -> str:
    """params.yaml with the values of a recipe. A mapping is merged into the mapping of that name; any other value, and
    an empty mapping, replaces the old one.

    A comment belongs to the key below it: it is removed with a block that is replaced, and added with a new block.
    """
    yaml = YAML()  # as DVC's own: `dvc exp run -S` changes no line but its own
    (plain_params, comments), (plain_recipe, new_comments) = _without_comments(params), _without_comments(recipe)
    values, text = yaml.load(plain_params), StringIO()
    _merge(yaml.load(plain_recipe), values)
    yaml.dump(values, text)
    lines = text.getvalue().splitlines(keepends=True)
    for name, number in reversed(_key_lines(text.getvalue())):
        lines[number:number] = (new_comments | comments).get(name, [])
    return "".join(lines)


def _merge(recipe: dict[str, Any], params: dict[str, Any]) -> None:
    for name, value in recipe.items():
        old = params.get(name)
        if value and isinstance(value, dict) and isinstance(old, dict):
            _merge(value, old)
        elif name not in params or not _same(value, old):
            params[name] = value


def _same(value: object, other: object) -> bool:
    """Whether two values are written alike: 1 is neither true nor 1.0."""
    return repr(value) == repr(other)


def _without_comments(text: str) -> tuple[str, dict[str, list[str]]]:
    """The YAML without the comments and blank lines above its keys; and those lines by the dotted name of the key."""
    lines = text.splitlines(keepends=True)
    comments: dict[str, list[str]] = {}
    for name, end in reversed(_key_lines(text)):
        start = end
        while start and lines[start - 1].lstrip()[:1] in ("", "#"):
            start -= 1
        comments[name] = lines[start:end]
        del lines[start:end]
    return "".join(lines), comments


def _key_lines(text: str) -> list[tuple[str, int]]:
    """The dotted name of each key in block style, and the number of its line, from top to bottom."""

    def below(node: Node | None, above: str) -> Iterator[tuple[str, int]]:
        if isinstance(node, MappingNode) and not node.flow_style:
            for key, value in node.value:
                yield f"{above}{key.value}", key.start_mark.line
                yield from below(value, f"{above}{key.value}.")

    return list(below(YAML().compose(text), ""))


def write_merged(recipe: Path, path: Path) -> None:
    """Writes params.yaml with the demo's values and then the recipe's to `path`."""
    text = PARAMS_FILE.read_text(encoding="utf-8")
    for file in (DEMO, recipe):
        try:
            read_sections(file)
        except UserError as error:
            raise UserError(*map(_about_recipe, error.sentences)) from None
        text = merged(text, file.read_text(encoding="utf-8"))
    with name_in_errors(path):
        path.write_text(text, encoding="utf-8")


def merge_errors(path: Path, recipe: Path) -> list[str]:
    """The errors in `path`, which is params.yaml with the recipe's values. An error that params.yaml has without the
    recipe names params.yaml; any other names the recipe."""
    errors: list[str] = []
    own_errors: list[str] = []
    with collect_errors(errors):
        check_params(path)
    with collect_errors(own_errors):
        check_params()

    def sentence(error: str) -> str:
        of_params = error.replace(str(path), str(PARAMS_FILE))
        return of_params if of_params in own_errors else _about_recipe(error.replace(str(path), str(recipe)))

    return list(map(sentence, errors))


def _about_recipe(sentence: str) -> str:
    """What params.yaml lacks is to be restored; what a recipe lacks is to be written."""
    return sentence.replace("restore it from the last commit", f"write it as {DEMO} does")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.recipe", description=__doc__)
    parser.add_argument("recipe", type=Path, help="a YAML file, as in models/recipes")
    parser.add_argument("--apply", action="store_true", help="write the changes to params.yaml")
    args = parser.parse_args()
    params = read_sections()
    new_file = PARAMS_FILE.with_name(f"{PARAMS_FILE.name}.new.partial")
    try:
        write_merged(args.recipe, new_file)
        if errors := merge_errors(new_file, args.recipe):
            raise UserError(*errors)
        lines = [f"{name}: {old} -> {new}" for name, old, new in changes(params, read_sections(new_file))]
        show("\n".join(map(visible_line, lines)) or "params.yaml has these values already")
        if args.apply:
            new_file.replace(PARAMS_FILE)
            show(f"written to {PARAMS_FILE}")
    finally:
        new_file.unlink(missing_ok=True)


if __name__ == "__main__":
    run_stage(main)
