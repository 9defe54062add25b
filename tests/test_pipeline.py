"""The repository holds itself together: dvc.yaml, the import graph, receipts and names agree."""

import ast
import json
import re
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any, get_args

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages.check_params import SECTIONS
from stages.core.tables import COLUMNS
from stages.train_dpo import Name
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


def expand() -> dict[str, dict[str, Any]]:
    """Every stage of dvc.yaml by name, foreach, matrix and params expanded."""
    stages: dict[str, dict[str, Any]] = {}
    params: dict[str, Any] = {}
    for section, part in load("params.yaml").items():
        params |= flat(section, part)
    for name, stage in load("dvc.yaml")["stages"].items():
        items = {key: flat("item", item) for key, item in stage.get("foreach", {}).items()}
        matrix = resolve(stage.pop("matrix", {}), params)
        for combination in product(*matrix.values()) if matrix else ():
            items["-".join(combination)] = flat("item", dict(zip(matrix, combination, strict=True)))
        for key, item in items.items():
            stages[f"{name}@{key}"] = resolve(stage.get("do", stage), params | item | {"key": key})
        if not items:
            stages[name] = resolve(stage, params)
    return stages


STAGES = expand()


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
    """The first-party files that importing `module` runs: its own, those it imports anywhere, and their packages."""
    found = {module} | {Path(*module.parts[:depth], "__init__.py") for depth in range(1, len(module.parts))}
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            path = Path(name.replace(".", "/") + ".py")
            if name.startswith("stages.") and (ROOT / path).exists() and path not in found:
                found |= {path} | imports(path)
    return frozenset(found)


def covered(path: str, listed: set[str]) -> bool:
    return any(path == entry or path.startswith(f"{entry}/") for entry in listed)


@pytest.mark.parametrize("name", STAGES)
def test_every_module_that_a_stage_imports_is_among_its_deps(name: str) -> None:
    missing = {str(path) for path in imports(module_of(STAGES[name])) if not covered(str(path), deps(STAGES[name]))}
    assert not missing, f"add to the deps of {name}: {sorted(missing)}"


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_depends_on_a_module_it_does_not_import(name: str) -> None:
    imported = {str(path) for path in imports(module_of(STAGES[name]))}
    listed = {dep for dep in deps(STAGES[name]) if dep.endswith(".py")}
    assert listed <= imported, f"remove from the deps of {name}: {sorted(listed - imported)}"


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_imports_what_pushes(name: str) -> None:
    pushing = {Path("stages/push.py"), Path("stages/publishing/push.py")}
    assert not pushing & imports(module_of(STAGES[name])), "DVC would push, or take a push from its run cache"


@pytest.mark.parametrize("name", STAGES)
def test_every_path_in_a_command_is_a_dep_or_an_out(name: str) -> None:
    words = [word for word in STAGES[name]["cmd"].split() if "/" in word]
    assert words
    made = outs(STAGES[name])
    folders = {str(folder) for out in made for folder in Path(out).parents}  # DVCLive's: its files are outs
    assert not {word for word in words if not covered(word, deps(STAGES[name]) | made) and word not in folders}


@pytest.mark.parametrize("name", [name for name in STAGES if not name.startswith("validate")])
def test_every_consumer_of_a_dataset_waits_for_its_receipt(name: str) -> None:
    datasets = {dataset for dataset in COLUMNS if f"data/{dataset}.parquet" in deps(STAGES[name])}
    receipts = {f"reports/validation/{dataset}.json" for dataset in datasets}
    assert receipts <= deps(STAGES[name])


@pytest.mark.parametrize("dataset", COLUMNS)
def test_every_dataset_is_validated_against_its_suite(dataset: str) -> None:
    stage = STAGES[f"validate@{dataset}"]
    assert {f"data/{dataset}.parquet", f"schemas/{dataset}.json"} <= deps(stage)
    assert outs(stage) == {f"reports/validation/{dataset}.json"}


@pytest.mark.parametrize("dataset", COLUMNS)
def test_a_dataset_has_one_name_in_five_places(dataset: str) -> None:
    stage = "corpus" if dataset == "questions" else dataset  # the corpus makes the questions and their databases
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


def test_params_have_a_section_for_each_stage_that_reads_one_and_no_other() -> None:
    read = {param for stage in STAGES.values() for param in stage.get("params", [])}
    listed = {param for param in read if param.startswith(("evaluate.", "train_dpo."))}
    assert (read - listed) | {"evaluate", "train_dpo"} == set(SECTIONS)
    assert {section.partition(".")[0] for section in SECTIONS} == set(load("params.yaml"))


def test_evaluate_reads_all_of_its_section_and_another_test_set_re_runs_none() -> None:
    listed = STAGES["evaluate@dpo-demo-dev"]["params"]
    assert set(listed) == {f"evaluate.{name}" for name in load("params.yaml")["evaluate"] if name != "test_sets"}


def test_train_dpo_reads_all_of_its_section_but_the_blocks_of_other_objectives() -> None:
    section = load("params.yaml")["train_dpo"]
    others = set(get_args(Name)) - {section["objective"]}
    assert set(STAGES["train_dpo"]["params"]) == {f"train_dpo.{name}" for name in section if name not in others}


def test_every_key_of_params_has_a_comment_above_it() -> None:
    lines = (ROOT / "params.yaml").read_text().splitlines()
    keys = [(before, line) for before, line in pairwise(lines) if re.match(r" +\w+:", line)]
    bare = [line for before, line in keys if "#" not in before + line]
    assert not bare
