"""A recipe changes the params that it names, keeps the comments, and is refused where it names what is not there."""

import re
import shutil
import sys
from itertools import permutations, takewhile
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides

from stages.check_params import check_params
from stages.core.errors import UserError
from stages.core.params import read_sections
from stages.recipe import DEMO as DEMO_OF_THE_WORKING_DIRECTORY
from stages.recipe import changes, main, merged, write_merged
from tests import ROOT

RECIPES = sorted((ROOT / "models" / "recipes").glob("*.yaml"))
DEMO = ROOT / DEMO_OF_THE_WORKING_DIRECTORY
OTHERS = [recipe for recipe in RECIPES if recipe != DEMO]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    DEMO_OF_THE_WORKING_DIRECTORY.parent.mkdir(parents=True)
    shutil.copy(DEMO, DEMO_OF_THE_WORKING_DIRECTORY)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, text: str, *flags: str) -> None:
    Path("mine.yaml").write_text(text)
    run(monkeypatch, Path("mine.yaml"), *flags)


def run(monkeypatch: pytest.MonkeyPatch, recipe: Path, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", str(recipe), *flags])
    main()


def test_without_apply_it_tells_the_changes_and_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("params.yaml").read_bytes()
    source = "own: {layout: folder, dev: {share: 1.0, limit: null}}"
    text = f"pairs: {{neg_limit: 3, dedup: true}}\ncorpus:\n  demo: null\n  sources:\n    {source}\n"
    call(monkeypatch, f"{text}synthesize: {{source: none}}\ntest_sets: [own-dev]\n")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("corpus.demo: {") and lines[2] == "synthesize.source: demo -> none"
    assert lines[1].startswith("corpus.sources.own: None -> {'layout': 'folder'")
    assert lines[3] == "pairs.neg_limit: 1 -> 3"
    assert lines[4] == "test_sets: ['demo-dev', 'demo-test'] -> ['own-dev']" and len(lines) == 5
    assert Path("params.yaml").read_bytes() == before and not list(folder.glob("*.partial"))


def test_with_apply_only_the_named_values_change_and_every_comment_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("params.yaml").read_text().splitlines()
    call(monkeypatch, "pairs: {neg_limit: 3}\n", "--apply")
    assert capsys.readouterr().out.splitlines()[-1] == "written to params.yaml"
    after = Path("params.yaml").read_text().splitlines()
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [
        ("  neg_limit: 1", "  neg_limit: 3")
    ]


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("corpus:\n  demo: null\n  sources: {own: {layout: folder, dev: {share: 1.0, limit: null}}}\n"
         "synthesize: {source: none}\ntest_sets: [own-dev]\n", "demo"),
        ("train_sft: {strong: {base: org/model, revision: main, scratch: null, learning_rate: 1.0e-5}}\n"
         "train_dpo: {learning_rate: 1.0e-6}\n", "scratch"),
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
    assert f"{' ' * deep}{gone}:" in after
    assert set(lost) <= set(inside) and len(inside) > 5


@pytest.mark.parametrize("recipe", sorted((ROOT / "models/recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_override_of_dvc_changes_one_line_of_params_whatever_recipe_they_follow(
    folder: Path, monkeypatch: pytest.MonkeyPatch, recipe: Path
) -> None:
    write_merged(recipe, Path("params.yaml"))
    before = Path("params.yaml").read_text().splitlines()
    apply_overrides("params.yaml", ["pairs.neg_limit=7"])
    after = Path("params.yaml").read_text().splitlines()
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [
        ("  neg_limit: 1", "  neg_limit: 7")
    ]


def test_what_is_added_to_a_block_stands_at_its_end() -> None:
    text, taken = (ROOT / "params.yaml").read_text(), "train: {share: 1.0, limit: null}"
    for name in ("mine", "other"):
        text = merged(text, f"corpus: {{sources: {{{name}: {{layout: folder, {taken}}}}}}}\n")
    added = text[text.index("  sources:\n") : text.index("# The safety nets")].splitlines()
    assert [line.split(":")[0].strip() for line in added] == ["sources", "mine", "other", ""]


def test_a_new_block_comes_with_its_comments_and_another_value_with_none() -> None:
    added = "  sources:\n    # Mine.\n    own:\n      # All.\n      share: 1.0\n"
    recipe = f"# Of the recipe.\npairs:\n  # Three.\n  neg_limit: 3\ncorpus:\n{added}"
    text = (ROOT / "params.yaml").read_text()
    expected = text.replace("neg_limit: 1\n", "neg_limit: 3\n").replace("  sources: {}\n", added)
    assert merged(text, recipe) == expected


def test_another_objective_and_its_block_go_where_they_belong(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before: Any = read_sections()
    lora = "lora: {rank: 8, alpha: 16, dropout: 0.0}"
    call(monkeypatch, f"train_dpo: {{objective: kto, {lora}}}\nobjectives: {{kto: {{beta: 0.2}}}}", "--apply")
    assert {name: (old, new) for name, old, new in changes(before, read_sections())} == {
        "train_dpo.objective": ("cdpo", "kto"), "objectives.kto.beta": (0.1, 0.2),
        "train_dpo.lora": (None, {"rank": 8, "alpha": 16, "dropout": 0.0}),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objectives: {kto: {beta: 0.2, epsilon: 0.1}}\n", "mine.yaml: `objectives.kto.epsilon` is not a param"),
        ("pears: {neg_limit: 3}\n", "mine.yaml: `pears` is not a section"),
        ("pairs: {neg_limits: 3}\n", "mine.yaml: `pairs.neg_limits` is not a param"),
        ("pairs: {neg_limit: 0}\n", "mine.yaml: `pairs.neg_limit` is 0"),
        ("corpus: {demo: null, sources: {spider: {train: {share: 1.0, limit: null}}}}\n",
         "mine.yaml: `test_sets` has demo-dev, which no source of `corpus` gives; there are: spider-train"),
        ("pairs: [", "mine.yaml is not valid YAML"),
        ("bogus: null\n", "mine.yaml: `bogus` is not a section"),
        ("train_dpo: {bogus: null}\n", "mine.yaml: `train_dpo.bogus` is not a param"),
        ("pairs: {dedup: 1}\n", "mine.yaml: `pairs.dedup` is 1; input should be a valid boolean"),
        ("train_sft: {weak: {packing: 0}}\n", "mine.yaml: `train_sft.weak.packing` is 0; input should be a valid"),
        ("train_sft: null\n", "mine.yaml has no section `train_sft.strong`; write it as models/recipes/demo.yaml does"),
        ("# nothing yet\n", "mine.yaml holds no sections; write it as models/recipes/demo.yaml does"),
    ],
)  # fmt: skip
def test_a_recipe_with_a_mistake_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    before = Path("params.yaml").read_bytes()
    with pytest.raises(UserError, match=message.replace("`", ".")):
        call(monkeypatch, text, "--apply")
    assert Path("params.yaml").read_bytes() == before and not list(folder.glob("*.partial"))


def test_a_mistake_that_params_have_by_themselves_names_params(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("wall_seconds: 60", "wall_seconds: abc", 1))
    with pytest.raises(UserError) as caught:
        call(monkeypatch, "execution: {memory_mb: 1}\n")
    assert [lines.split(";")[0] for lines in caught.value.sentences] == [
        "params.yaml: `execution.wall_seconds` is 'abc'", "mine.yaml: `execution.memory_mb` is 1",
    ]  # fmt: skip
    call(monkeypatch, "execution: {wall_seconds: 30}\n")  # a recipe may put it right


def text_after(*recipes: Path) -> str:
    """What params.yaml holds once these recipes have been applied, one after the other."""
    text = (ROOT / "params.yaml").read_text()
    for recipe in recipes:
        text = merged(merged(text, DEMO.read_text()), recipe.read_text())
    return text


@pytest.mark.parametrize(("before", "recipe"), list(permutations(RECIPES, 2)), ids=lambda path: path.stem)
def test_what_a_recipe_gives_does_not_depend_on_the_one_before(before: Path, recipe: Path) -> None:
    assert text_after(before, recipe) == text_after(recipe)


def test_what_goes_back_to_the_demo_is_shown_and_what_it_does_not_name_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, DEMO.with_name("sense-7b.yaml"), "--apply")
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("dedup: true", "dedup: false").replace("seed: 7", "seed: 77"))
    capsys.readouterr()
    run(monkeypatch, DEMO.with_name("qwen2.5-coder-1.5b.yaml"), "--apply")
    lines = capsys.readouterr().out.splitlines()
    assert "pairs.dedup: False -> True" in lines and "prompts.tokenizer: codellama/CodeLlama-7b-hf -> None" in lines
    assert any(line.startswith("corpus.sources.bird: {") and line.endswith("} -> None") for line in lines)
    after: Any = read_sections()
    assert list(after["corpus"]["sources"]) == ["spider"] and after["pairs"]["seed"] == 77


@pytest.mark.parametrize("recipe", OTHERS, ids=lambda path: path.stem)
def test_every_recipe_gives_params_that_hold(recipe: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, recipe, "--apply")
    check_params()
    assert read_sections() != read_sections(ROOT / "params.yaml")


def test_the_demo_is_what_params_hold(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, DEMO)
    assert capsys.readouterr().out == "params.yaml has these values already\n"


@pytest.mark.parametrize("recipe", OTHERS, ids=lambda path: path.stem)
def test_the_demo_takes_every_other_recipe_back_to_the_byte(
    recipe: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path("params.yaml").read_bytes()
    run(monkeypatch, recipe, "--apply")
    assert Path("params.yaml").read_bytes() != before
    run(monkeypatch, DEMO, "--apply")
    assert Path("params.yaml").read_bytes() == before


def named(values: Any, within: Any, above: str = "") -> set[str]:
    """The params that a recipe names, and the blocks that they stand in."""
    found: set[str] = set()
    for name, value in values.items():
        found.add(f"{above}{name}")
        if isinstance(value, dict) and within[name]:  # what stands in an empty block is no param
            found |= named(value, within[name], f"{above}{name}.")
    return found


@pytest.mark.parametrize("recipe", OTHERS, ids=lambda path: path.stem)
def test_the_demo_names_every_param_that_another_recipe_names(recipe: Path) -> None:
    params = read_sections(ROOT / "params.yaml")
    assert named(read_sections(recipe), params) <= named(read_sections(DEMO), params)


@pytest.mark.parametrize("recipe", OTHERS, ids=lambda path: path.stem)
def test_every_model_of_a_recipe_is_pinned(recipe: Path) -> None:
    text = recipe.read_text()
    models = re.findall(r"^ +(?:base|tokenizer): ([\w.-]+/[\w.-]+)$", text, re.MULTILINE)
    revisions = re.findall(r"^ +revision: (\S+)$", text, re.MULTILINE)
    assert len(models) == len(revisions)
    assert all(re.fullmatch(r"[0-9a-f]{40}|refs/pr/\d+", revision) for revision in revisions)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_tells_the_command_that_runs_it_and_the_one_that_shows_it(recipe: Path) -> None:
    head = recipe.read_text().split("\n\n")[0]
    name = recipe.relative_to(ROOT)
    assert f"python -m stages.recipe {name}\n" in head and f"python -m stages.recipe {name} --apply" in head
    assert re.search(r"^#   .*\bdvc repro", head, re.MULTILINE)
