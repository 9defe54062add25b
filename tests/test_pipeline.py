"""The repository holds itself together: rooms, dvc.yaml, the import graph, receipts and names agree."""

import ast
import json
import re
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages.check_params import SECTIONS
from stages.core.layout import answers_file, receipt_file
from stages.datasets.catalog import DATASETS
from tests import ROOT


def load(name: str) -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load((ROOT / name).read_text()))


def resolve(template: Any, values: dict[str, Any]) -> Any:
    """A stage with its `${…}` filled in: a list where that is all, else text."""
    if isinstance(template, dict):
        return {resolve(name, values): resolve(part, values) for name, part in template.items()}
    if isinstance(template, list):
        return [resolve(part, values) for part in template]
    if not isinstance(template, str):
        return template
    if template.startswith("${") and isinstance(value := values[template[2:-1]], list):
        return value
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(values[match[1]]), template)


def flat(section: str, value: Any) -> dict[str, Any]:
    """A value, and all that is in it, by dotted names."""
    inside = [flat(f"{section}.{name}", part) for name, part in value.items()] if isinstance(value, dict) else []
    return {section: value} | {name: part for found in inside for name, part in found.items()}


def expand(**overrides: Any) -> dict[str, dict[str, Any]]:
    """Every stage of dvc.yaml by name, foreach, matrix and params expanded. `overrides`: sections with other params."""
    stages: dict[str, dict[str, Any]] = {}
    params: dict[str, Any] = {}
    for section, part in load("params.yaml").items():
        params |= flat(section, part | overrides.get(section, {}) if isinstance(part, dict) else part)
    for name, stage in load("dvc.yaml")["stages"].items():
        items = {key: flat("item", item) for key, item in stage.get("foreach", {}).items()}
        is_template = "matrix" in stage or "foreach" in stage
        matrix = resolve(stage.pop("matrix", {}), params)
        for combination in product(*matrix.values()) if matrix else ():
            items["-".join(combination)] = flat("item", dict(zip(matrix, combination, strict=True)))
        for key, item in items.items():
            stages[f"{name}@{key}"] = resolve(stage.get("do", stage), params | item | {"key": key})
        if not is_template:
            stages[name] = resolve(stage, params)
    return stages


DEFAULT_STAGES = expand()
STAGES = expand(train_grpo={"models": ["grpo"]})
"""The stages of the pipeline, those too that are off by default."""


def paths(entries: list[Any]) -> set[str]:
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


def deps(stage: dict[str, Any]) -> set[str]:
    return paths(stage.get("deps", []))


def outs(stage: dict[str, Any]) -> set[str]:
    return set().union(*(paths(stage.get(kind, [])) for kind in ("outs", "metrics", "plots")))


def module_of(stage: dict[str, Any]) -> Path:
    match = re.match(r"python -m ([\w.]+)", stage["cmd"])
    assert match, f"{stage['cmd']} does not start with `python -m stages.…`"
    return Path(match[1].replace(".", "/") + ".py")


@cache
def imports(module: Path) -> frozenset[Path]:
    """The first-party modules that importing `module` runs: itself, and those it imports anywhere in its functions too.
    Packages are left out: they hold a docstring each."""
    modules = {module}
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            path = Path(name.replace(".", "/") + ".py")
            if name.startswith("stages.") and (ROOT / path).exists() and path not in modules:
                modules |= {path} | imports(path)
    return frozenset(modules)


def covered(path: str, listed: set[str]) -> bool:
    return any(path == entry or path.startswith(f"{entry}/") for entry in listed)


def room_of(module: Path) -> str:
    """What of `stages/` a module belongs to as a dep: its folder, or itself at the top and in `datasets`."""
    alone = len(module.parts) == 2 or module.parts[1] == "datasets"
    return str(module) if alone else str(Path(*module.parts[:2]))


ROOMS = sorted(path.parent.name for path in (ROOT / "stages").glob("*/__init__.py"))
COMMANDS = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_at_the_top_of_stages_can_be_run(command: str) -> None:
    assert 'if __name__ == "__main__":\n    run_stage(main)\n' in (ROOT / f"stages/{command}.py").read_text()


def test_a_module_in_a_folder_is_imported_and_not_run() -> None:
    modules = [path for path in (ROOT / "stages").glob("*/**/*.py") if 'if __name__ == "__main__"' in path.read_text()]
    assert [path.stem for path in modules] == ["launch"]  # what the launcher of several processes starts


def test_a_package_holds_nothing_but_its_docstring() -> None:
    packages = set((ROOT / "stages").rglob("__init__.py")) - {ROOT / "stages/lm/__init__.py"}  # sets libraries
    for path in packages:
        assert [type(node) for node in ast.parse(path.read_text()).body] == [ast.Expr], path


def test_no_room_imports_a_stage_and_no_two_rooms_import_each_other() -> None:
    arrows: dict[str, set[str]] = {room: set() for room in ROOMS}
    for room in ROOMS:
        for module in (ROOT / "stages" / room).rglob("*.py"):
            arrows[room] |= {path.parts[1] for path in imports(module.relative_to(ROOT))} - {room}
    assert not {name for names in arrows.values() for name in names if name.endswith(".py")}
    assert not [(room, other) for room in ROOMS for other in arrows[room] if room in arrows[other]]


@pytest.mark.parametrize("name", STAGES)
def test_the_code_of_a_stage_is_among_its_deps_by_rooms_and_no_other_code_is(name: str) -> None:
    listed = {dep for dep in deps(STAGES[name]) if dep.startswith("stages")}
    needed = {room_of(path) for path in imports(module_of(STAGES[name]))}
    whole = {"stages", "stages/datasets"} & listed  # of the stages that read all sections, or all datasets
    assert {room for room in needed if not covered(room, whole)} == listed - whole


@pytest.mark.parametrize("stage", ["train_sft", "train_dpo"])
def test_a_training_needs_no_code_but_that_of_training_and_of_its_dataset(stage: str) -> None:
    rooms = {path.parts[1] for path in imports(Path(f"stages/{stage}.py")) if len(path.parts) > 2}
    assert rooms == {"core", "datasets", "lm", "training"}
    assert sum(path.parts[1] == "datasets" for path in imports(Path(f"stages/{stage}.py"))) == 1


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_imports_what_pushes(name: str) -> None:
    pushing = {Path("stages/push.py"), Path("stages/publishing/push.py")}
    assert not pushing & imports(module_of(STAGES[name])), "DVC would push, or take a push from its run cache"


@pytest.mark.parametrize("name", STAGES)
def test_a_command_names_items_and_no_paths_but_those_of_evaluate(name: str) -> None:
    _, _, _, *flags = STAGES[name]["cmd"].split()
    assert {flag for flag in flags if flag.startswith("--")} <= {
        "train_sft": {"--role"}, "validate": {"--dataset"}, "validate_answers": {"--dataset"},
        "evaluate": {"--model", "--test-set", "--metrics", "--answers"},
    }.get(name.partition("@")[0], set())  # fmt: skip
    paths = [flag for flag in flags if "/" in flag and not flag.startswith("answers/")]
    assert all(covered(path, deps(STAGES[name]) | outs(STAGES[name])) for path in paths)


def calls(stage: str, function: str) -> set[str]:
    """The datasets that a stage names in its calls of a function, anywhere in its code."""
    names = set()
    for module in imports(Path(f"stages/{stage}.py")):
        for node in ast.walk(ast.parse((ROOT / module).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
                names |= {argument.id.lower() for argument in node.args if isinstance(argument, ast.Name)}
    return names & set(DATASETS)


@pytest.mark.parametrize("name", [name for name in STAGES if not name.startswith(("validate", "check_params"))])
def test_a_stage_opens_the_datasets_among_its_deps_and_writes_those_among_its_outs(name: str) -> None:
    stage = name.partition("@")[0]
    read = {dataset for dataset in DATASETS if f"data/{dataset}.parquet" in deps(STAGES[name])}
    written = {dataset for dataset in DATASETS if f"data/{dataset}.parquet" in outs(STAGES[name])}
    opened = calls(stage, "open_datasets") | calls(stage, "open_dataset")
    opened -= {"gold"} if stage == "synthesize" else set()  # which only `--repair` opens, a command for people
    assert (set(DATASETS) if stage == "publish" else opened) == read
    assert calls(stage, "write_dataset") == written


@pytest.mark.parametrize("name", [name for name in STAGES if not name.startswith("validate")])
def test_every_consumer_of_a_dataset_waits_for_its_receipt(name: str) -> None:
    datasets = {dataset for dataset in DATASETS if f"data/{dataset}.parquet" in deps(STAGES[name])}
    receipts = {f"reports/validation/{dataset}.json" for dataset in datasets}
    assert receipts <= deps(STAGES[name])


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_is_validated_against_its_suite(dataset: str) -> None:
    stage = STAGES[f"validate@{dataset}"]
    assert {f"data/{dataset}.parquet", f"schemas/{dataset}.json"} <= deps(stage)
    assert outs(stage) == {f"reports/validation/{dataset}.json"}


@pytest.mark.parametrize("name", [name for name in STAGES if name.startswith("evaluate@")])
def test_the_answers_of_every_evaluation_are_validated_against_one_suite(name: str) -> None:
    model, test_set = (STAGES[name]["cmd"].split()[place] for place in (4, 6))
    file = str(answers_file(model.removeprefix("models/"), test_set))
    dataset = file.removeprefix("data/").removesuffix(".parquet")
    stage = STAGES[name.replace("evaluate", "validate_answers")]
    assert file in outs(STAGES[name]) and {file, "schemas/answers.json"} <= deps(stage)
    assert stage["cmd"] == f"python -m stages.validate --dataset {dataset}"
    assert outs(stage) == {str(receipt_file(dataset))}


def test_what_is_published_waits_for_the_receipts_of_the_answers_and_needs_no_test_set() -> None:
    assert {"data/answers", "reports/validation/answers"} <= deps(STAGES["publish"])
    assert (ROOT / "data/answers/.gitignore").is_file(), "DVC stops at a dep that is not there"


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_dataset_has_one_name_in_five_places(dataset: str) -> None:
    stage = {"questions": "corpus", "synthetic": "synthesize"}.get(dataset, dataset)  # two that make databases too
    assert f"data/{dataset}.parquet" in outs(STAGES[stage])
    assert module_of(STAGES[stage]) == Path(f"stages/{stage}.py")
    assert stage in load("params.yaml")
    assert json.loads((ROOT / f"schemas/{dataset}.json").read_text())["name"] == dataset
    assert (ROOT / f"tests/test_{stage}.py").exists()


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_in_plain_english_what_it_does(name: str) -> None:
    described = STAGES[name]["desc"]
    assert described[0].isupper() and described.endswith(".")


def test_unfinished_work_in_a_folder_changes_no_hash_of_dvc() -> None:
    folders = {path for stage in STAGES.values() for path in deps(stage) | outs(stage) if not Path(path).suffix}
    assert {"data/raw", "data/databases", "models/dpo", "reports/evaluate"} <= folders
    with Repo(str(ROOT)) as repo:
        for folder in folders:
            assert repo.dvcignore.is_ignored_dir(str(ROOT / folder / "dpo.partial")), folder
            assert repo.dvcignore.is_ignored_file(str(ROOT / folder / "dpo.json.new.partial")), folder


def test_every_section_of_params_is_read_by_a_stage_as_a_whole() -> None:
    parts = {"objectives.cdpo", "corpus.demo", "sft.drop_flags", "pairs.drop_flags", "sft.preference_share"}
    read = {param for stage in STAGES.values() for param in stage.get("params", [])} - parts
    assert read == {"objectives" if section.startswith("objectives.") else section for section in SECTIONS}
    assert {section.partition(".")[0] for section in SECTIONS} == set(load("params.yaml"))


def test_another_test_set_re_runs_no_evaluation_of_the_others() -> None:
    assert STAGES["evaluate@dpo-demo-dev"]["params"] == ["evaluate", "execution"]


def test_the_params_of_other_objectives_retrain_nothing() -> None:
    assert STAGES["train_dpo"]["params"] == ["train_dpo", "objectives.cdpo"]


def test_the_page_of_rooms_says_what_each_is_for_and_what_an_edit_re_runs() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs/rooms.md").read_text().splitlines() if line.startswith("| `")]
    table = {room.strip("| `"): (purpose, set(re.findall(r"`(\w+)`", stages))) for room, purpose, stages in rows}
    assert list(table) == ROOMS
    for room, (purpose, stages) in table.items():
        docstring = ast.get_docstring(ast.parse((ROOT / f"stages/{room}/__init__.py").read_text()))
        assert docstring == f"{purpose}."
        readers = {name.partition("@")[0] for name in STAGES if covered(f"stages/{room}", deps(STAGES[name]))}
        assert room in ("core", "datasets") or stages == readers - {"check_params"}


def test_dvc_yaml_can_be_read_from_top_to_bottom() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 500


def test_every_key_of_params_has_a_comment_above_it() -> None:
    lines = (ROOT / "params.yaml").read_text().splitlines()
    keys = [(before, line) for before, line in pairwise(lines) if re.match(r" +\w+:", line)]
    bare = [line for before, line in keys if "#" not in before + line]
    assert not bare
