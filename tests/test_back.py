"""`make back`, and the commands that the README gives for it, in a small repository after all that runs can leave."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.diffing.world import new_repository, run
from tests.test_end_to_end import attempt, environment
from tests.test_readme import blocks

pytestmark = pytest.mark.slow
Run = Callable[[Path], None]

PIPELINE = """
stages:
  check_params:
    cmd: mkdir -p reports && ! grep 'nonsense' params.yaml && echo valid > reports/check.json
    deps: [params.yaml]
    outs: [{reports/check.json: {cache: false}}]
  pairs:
    cmd: cp params.yaml data/pairs.parquet && cp params.yaml reports/pairs.json
    deps: [reports/check.json]
    params: [pairs]
    outs: [data/pairs.parquet]
    metrics: [{reports/pairs.json: {cache: false}}]
  train_dpo:
    cmd: sleep ${train_dpo.seconds} && cp data/pairs.parquet models/dpo && cp params.yaml reports/train_dpo.json
    deps: [data/pairs.parquet]
    params: [train_dpo]
    outs: [models/dpo]
    metrics: [{reports/train_dpo.json: {cache: false}}]
  evaluate:
    matrix: {test_set: "${test_sets}"}
    cmd: mkdir -p reports/evaluate && cp models/dpo reports/evaluate/${item.test_set}.json
    deps: [models/dpo]
    metrics: [{"reports/evaluate/${item.test_set}.json": {cache: false}}]
"""
PARAMS = "pairs: {neg_limit: 1}\ntrain_dpo: {seconds: 0}\ntest_sets: [dev]\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with DVC's config of ours, after its first `dvc repro`, all committed."""
    folder = tmp_path_factory.mktemp("repository")
    new_repository(folder)
    for name in (".dvc/config", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    for name, text in {
        "dvc.yaml": PIPELINE, "params.yaml": PARAMS, "README.md": "Read me.\n", "data/raw/mine.csv": "mine\n",
        "reports/agreement/summary.json": "{}\n", "models/README.md": "Models.\n",
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    dvc(folder, "add", "data/raw/mine.csv")
    dvc(folder, "repro")
    commit(folder)
    return folder


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(made, folder, symlinks=True)
    assert difference(folder) == []
    return folder


def dvc(folder: Path, *words: str) -> str:
    status, output = attempt(folder, "dvc", *words, DVC_SITE_CACHE_DIR=str(folder.with_name("site")))
    assert status == 0, output
    return output


def experiment(folder: Path, *params: str) -> bool:
    """Whether `dvc exp run` with these params succeeds."""
    words = [word for param in params for word in ("-S", param)]
    status, _ = attempt(folder, "dvc", "exp", "run", *words, DVC_SITE_CACHE_DIR=str(folder.with_name("site")))
    return status == 0


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "a version")


def back(folder: Path) -> None:
    status, output = attempt(folder, "make", "-f", str(ROOT / "Makefile"), "back")
    assert status == 0, output


def by_hand(folder: Path) -> None:
    [commands] = [block for block in blocks("bash") if "git read-tree" in block]
    status, output = attempt(folder, "bash", "-ec", commands)
    assert status == 0, output


def difference(folder: Path) -> list[str]:
    """What differs from HEAD: tracked files by their content, files that git or DVC calls changed or untracked."""
    tracked = [line.split(maxsplit=3) for line in run(folder, "git", "ls-tree", "-r", "HEAD").splitlines()]
    changed = [
        name for _, _, blob, name in tracked
        if not (folder / name).exists() or run(folder, "git", "hash-object", name).strip() != blob
    ]  # fmt: skip
    changed += run(folder, "git", "status", "--porcelain").splitlines()
    stages = dvc(folder, "status")
    return changed if "up to date" in stages else [*changed, stages]


# ---- after what a run leaves ----


def repro(folder: Path) -> None:
    (folder / "params.yaml").write_text(PARAMS.replace("neg_limit: 1", "neg_limit: 2"))
    dvc(folder, "repro")


def exp_run(folder: Path) -> None:
    assert experiment(folder, "pairs.neg_limit=3")


def partial_run(folder: Path) -> None:
    dvc(folder, "exp", "run", "-S", "pairs.neg_limit=4", "pairs")


def other_test_sets(folder: Path) -> None:
    assert experiment(folder, "test_sets=[test]", "pairs.neg_limit=5")


def failed_at_once(folder: Path) -> None:
    assert not experiment(folder, "pairs.neg_limit=nonsense")


def failed_half_way(folder: Path) -> None:
    assert not experiment(folder, "train_dpo.seconds=x", "pairs.neg_limit=6")


def killed(folder: Path) -> None:
    """Ended by the system while it trains, as when the memory is full."""
    process = subprocess.Popen(
        ["dvc", "exp", "run", "-S", "train_dpo.seconds=600", "-S", "pairs.neg_limit=7"], cwd=folder,
        env=environment(DVC_SITE_CACHE_DIR=str(folder.with_name("site"))), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while (folder / "models" / "dpo").exists() or "neg_limit: 7" not in (folder / "reports/pairs.json").read_text():
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


RUNS = [repro, exp_run, partial_run, other_test_sets, failed_at_once, failed_half_way, killed]


@pytest.mark.parametrize("leave", RUNS)
def test_after_a_run_all_is_as_in_the_last_commit(leave: Run, repository: Path) -> None:
    leave(repository)
    back(repository)
    assert difference(repository) == []
    assert run(repository, "git", "symbolic-ref", "HEAD") == "refs/heads/main\n"


@pytest.mark.parametrize("last", [failed_at_once, failed_half_way, exp_run])
@pytest.mark.parametrize("first", [repro, exp_run])
def test_after_two_runs_all_is_as_in_the_last_commit(first: Run, last: Run, repository: Path) -> None:
    first(repository)
    last(repository)
    back(repository)
    assert difference(repository) == []


@pytest.mark.parametrize("leave", [repro, failed_half_way])
def test_the_commands_of_the_readme_do_the_same(leave: Run, repository: Path) -> None:
    leave(repository)
    by_hand(repository)
    assert difference(repository) == []


def test_a_changed_file_that_git_takes_for_the_old_one_is_put_back(repository: Path) -> None:
    run(repository, "git", "config", "core.trustctime", "false")
    run(repository, "git", "config", "core.checkStat", "minimal")  # so that size and time alone tell git of a change
    run(repository, "git", "status")
    lock = repository / "dvc.lock"
    before = lock.stat()
    lock.write_text(lock.read_text().replace("neg_limit: 1", "neg_limit: 2"))
    os.utime(lock, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(repository, "git", "status", "--porcelain") == ""
    back(repository)
    assert difference(repository) == []


def test_a_second_time_changes_nothing(repository: Path) -> None:
    exp_run(repository)
    back(repository)
    back(repository)
    assert difference(repository) == []


# ---- what stays ----


def test_what_neither_params_nor_a_stage_wrote_stays(repository: Path) -> None:
    own = {
        "README.md": "Mine.\n", "notes.txt": "New.\n", "models/recipe.yaml": "Staged.\n", "data/raw/mine.csv": "more\n",
        "reports/agreement/summary.json": '{"made": "again"}\n',
    }  # fmt: skip
    failed_half_way(repository)
    for name, text in own.items():
        (repository / name).unlink(missing_ok=True)
        (repository / name).write_text(text)
    run(repository, "git", "add", "models/recipe.yaml")
    back(repository)
    assert {name: (repository / name).read_text() for name in own} == own
    assert (repository / "params.yaml").read_text() == PARAMS


def test_a_tag_that_was_checked_out_stays_checked_out(repository: Path) -> None:
    run(repository, "git", "tag", "v1")
    run(repository, "git", "commit", "--quiet", "--allow-empty", "--message", "later")
    run(repository, "git", "checkout", "--quiet", "v1")
    exp_run(repository)
    back(repository)
    assert run(repository, "git", "rev-parse", "HEAD") == run(repository, "git", "rev-parse", "v1")
    assert difference(repository) == []


def test_an_output_that_the_cache_lacks_is_told(repository: Path) -> None:
    repro(repository)
    shutil.rmtree(repository / ".dvc" / "cache")
    status, output = attempt(repository, "make", "-f", str(ROOT / "Makefile"), "back")
    assert status != 0 and "data/pairs.parquet" in output and "Is your cache up to date?" in output
