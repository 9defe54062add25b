"""Versions that `dvc exp run` made of a part of the pipeline, in a real git and DVC repository."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.diff import version_of
from stages.diffing.comparison import Comparison, compare
from tests import ROOT
from tests.diffing.world import keyed, new_repository, run
from tests.test_end_to_end import attempt

pytestmark = pytest.mark.slow

PIPELINE: dict[str, Any] = {
    "pairs": {
        "cmd": "cp pairs.made data/pairs.parquet && cp params.yaml data/size", "deps": ["pairs.made"],
        "params": ["pairs"], "outs": ["data/pairs.parquet", "data/size"],
    },
    "validate": {"foreach": {"pairs": "x"}, "do": {
        "cmd": "cp data/size reports/${key}.txt", "deps": ["data/pairs.parquet", "data/size"],
        "outs": [{"reports/${key}.txt": {"cache": False}}],
    }},
    "train_dpo": {
        "cmd": "cp params.yaml models/dpo", "deps": ["data/size", "reports/pairs.txt"], "params": ["train_dpo"],
        "outs": ["models/dpo"],
    },
    "evaluate": {
        "cmd": "cp ex.made reports/evaluate.json", "deps": ["models/dpo", "ex.made"], "params": ["evaluate"],
        "metrics": [{"reports/evaluate.json": {"cache": False}}],
    },
    "publish": {
        "cmd": "cp params.yaml reports/publish.txt", "deps": ["data/pairs.parquet", "models/dpo"],
        "params": ["pairs", "train_dpo", "evaluate"], "outs": [{"reports/publish.txt": {"cache": False}}],
    },
}  # fmt: skip
PARAMS = {"pairs": {"neg_limit": 1}, "train_dpo": {"learning_rate": 1e-4}, "evaluate": {"seed": 5}}
AFTER_PAIRS = ["train_dpo", "evaluate", "publish"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository after a run of the whole pipeline, all committed."""
    folder = tmp_path_factory.mktemp("repository")
    new_repository(folder)
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    for name, text in {
        "dvc.yaml": json.dumps({"stages": PIPELINE}), "params.yaml": json.dumps(PARAMS), "ex.made": '{"ex": 0.5}',
        "data/README.md": "", "models/README.md": "", "reports/README.md": "", ".gitignore": "/site\n",
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    keyed("pairs", "a").write_parquet(folder / "pairs.made")
    dvc(folder, "repro")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "a version")
    return folder


@pytest.fixture
def repository(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the working directory."""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.chdir(folder)
    return folder


def dvc(folder: Path, *words: str) -> str:
    status, output = attempt(folder, "dvc", *words)
    assert status == 0, output
    return output


def since_head(name: str = "workspace") -> Comparison:
    return compare(version_of("HEAD"), version_of(name))


def test_a_whole_run_leaves_no_stage_stale(repository: Path) -> None:
    dvc(repository, "exp", "run", "-S", "pairs.neg_limit=2", "--name", "whole")
    for name in ("workspace", "whole"):
        found = since_head(name)
        assert found.params == {"pairs.neg_limit": {"old": 1, "new": 2}}
        assert found.old.stale == found.new.stale == {}


def test_a_partial_run_tells_its_params_and_what_did_not_run(repository: Path) -> None:
    dvc(repository, "exp", "run", "-S", "pairs.neg_limit=2", "--name", "part", "validate@pairs")
    for name in ("workspace", "part"):
        found = since_head(name)
        assert found.params == {"pairs.neg_limit": {"old": 1, "new": 2}}
        assert list(found.new.stale) == AFTER_PAIRS and found.new.stale["publish"][0] == "pairs.neg_limit: 1 -> 2"
        assert found.old.stale == {}


def test_params_that_were_edited_and_not_run_are_no_params_of_the_data(repository: Path) -> None:
    (repository / "params.yaml").write_text(json.dumps(PARAMS | {"pairs": {"neg_limit": 7}}))
    found = since_head()
    assert found.params == {}
    assert found.new.stale["pairs"] == ["pairs.neg_limit: 1 -> 7"]
    assert list(found.new.stale) == ["pairs", "validate@pairs", *AFTER_PAIRS]


def test_params_that_were_put_back_without_the_data_leave_it_stale(repository: Path) -> None:
    dvc(repository, "exp", "run", "-S", "pairs.neg_limit=2")
    run(repository, "git", "checkout", "HEAD", "--", "params.yaml")
    found = since_head()
    assert found.params == {"pairs.neg_limit": {"old": 1, "new": 2}}
    assert found.new.stale["pairs"] == ["pairs.neg_limit: 2 -> 1"]


def test_a_version_of_which_a_part_was_committed_is_shown_as_old(repository: Path) -> None:
    dvc(repository, "exp", "run", "-S", "pairs.neg_limit=2", "pairs")
    run(repository, "git", "commit", "--quiet", "--all", "--message", "a part")
    dvc(repository, "repro")
    found = since_head()
    assert found.params == {} and found.new.stale == {}
    assert list(found.old.stale) == ["validate@pairs", *AFTER_PAIRS]


def test_figures_of_an_evaluation_that_did_not_run_again_are_shown_as_stale(repository: Path) -> None:
    dvc(repository, "exp", "run", "-S", "train_dpo.learning_rate=1e-6", "train_dpo")
    found = since_head()
    assert found.params == {"train_dpo.learning_rate": {"old": 1e-4, "new": 1e-6}}
    assert found.new.stale["evaluate"] == ["models/dpo"]
