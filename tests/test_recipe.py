"""A recipe changes the params that it names, keeps the comments, and is refused where it names what is not there."""

import shutil
import sys
from itertools import takewhile
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
    text = f"pairs: {{neg_limit: 3, dedup: true}}\ncorpus:\n  demo: null\n  sources:\n    {source}\n"
    call(monkeypatch, f"{text}evaluate: {{test_sets: [own-dev]}}\n")
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "pairs.neg_limit: 1 -> 3" and told[1].startswith("corpus.demo: {")
    assert told[2].startswith("corpus.sources.own: None -> {'layout': 'folder'")
    assert told[3] == "evaluate.test_sets: ['demo-dev', 'demo-test'] -> ['own-dev']" and len(told) == 4
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
    ("text", "gone"),
    [
        ("corpus:\n  demo: null\n  sources: {own: {layout: folder, dev: {share: 1.0, limit: null}}}\n"
         "evaluate: {test_sets: [own-dev]}\n", "demo"),
        ("train_sft: {strong: {base: org/model, revision: main, scratch: null}}\n", "scratch"),
    ],
)
def test_a_block_that_is_replaced_takes_only_its_own_comments_along(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, gone: str
) -> None:
    before = Path("params.yaml").read_text().splitlines()
    call(monkeypatch, text, "--apply")
    after = Path("params.yaml").read_text().splitlines()
    start = next(number for number, line in enumerate(before) if line.strip() == f"{gone}:")
    deep = len(before[start]) - len(before[start].lstrip())
    inside = list(takewhile(lambda line: len(line) - len(line.lstrip()) > deep, before[start + 1 :]))
    lost = [line for line in before if line.strip().startswith("#") and line not in after]
    assert f"{' ' * deep}{gone}: null" in after
    assert set(lost) <= set(inside) and len(inside) > 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pears: {neg_limit: 3}\n", "mine.yaml: `pears` is not a section"),
        ("pairs: {neg_limits: 3}\n", "mine.yaml: `pairs.neg_limits` is not a param"),
        ("pairs: {neg_limit: 0}\n", "mine.yaml: `pairs.neg_limit` is 0"),
        ("corpus: {demo: null, sources: {spider: {train: {share: 1.0, limit: null}}}}\n",
         "mine.yaml: `evaluate.test_sets` has demo-dev, which no source of `corpus` gives; there are: spider-train"),
        ("pairs: [", "mine.yaml is not valid YAML"),
    ],
)  # fmt: skip
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
