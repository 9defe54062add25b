"""A recipe changes the params that it names, keeps the comments, and is refused where it names what is not there."""

import shutil
import sys
from pathlib import Path

import pytest

from stages.check_params import check_params
from stages.errors import UserError
from stages.params import read_sections
from stages.recipe import main

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "models" / "recipes").glob("*.yaml"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, text: str, *flags: str) -> None:
    Path("mine.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["recipe", "mine.yaml", *flags])
    main()


def test_without_apply_it_tells_the_changes_and_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("params.yaml").read_bytes()
    source = "own: {layout: folder, dev: {share: 1.0, limit: null}}"
    call(monkeypatch, f"pairs: {{neg_limit: 3, dedup: true}}\ncorpus:\n  demo: null\n  sources:\n    {source}\n")
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "pairs.neg_limit: 1 -> 3" and told[1].startswith("corpus.demo: {")
    assert told[2].startswith("corpus.sources.own: None -> {'layout': 'folder'") and len(told) == 3
    assert Path("params.yaml").read_bytes() == before and not list(folder.glob("*.partial"))


def test_with_apply_only_the_named_values_change_and_every_comment_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path("params.yaml").read_text().splitlines()
    call(monkeypatch, "pairs: {neg_limit: 3}\n", "--apply")
    after = Path("params.yaml").read_text().splitlines()
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [
        ("  neg_limit: 1", "  neg_limit: 3")
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pears: {neg_limit: 3}\n", "mine.yaml: `pears` is not a section"),
        ("pairs: {neg_limits: 3}\n", "mine.yaml: `pairs.neg_limits` is not a param"),
        ("pairs: {neg_limit: 0}\n", "mine.yaml: `pairs.neg_limit` is 0"),
        ("pairs: [", "mine.yaml is not valid YAML"),
    ],
)
def test_a_recipe_with_a_mistake_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    before = Path("params.yaml").read_bytes()
    with pytest.raises(UserError, match=told.replace("`", ".")):
        call(monkeypatch, text, "--apply")
    assert Path("params.yaml").read_bytes() == before and not list(folder.glob("*.partial"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_gives_params_that_hold(recipe: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", str(recipe), "--apply"])
    main()
    check_params()
    assert read_sections() != read_sections(ROOT / "params.yaml")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_tells_the_command_that_runs_it_and_the_one_that_shows_it(recipe: Path) -> None:
    head = recipe.read_text().split("\n\n")[0]
    name = recipe.relative_to(ROOT)
    assert f"python -m stages.recipe {name}\n" in head and f"python -m stages.recipe {name} --apply" in head
