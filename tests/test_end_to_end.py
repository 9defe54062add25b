"""The whole pipeline under DVC, on a cut-down corpus in a copy of the repository that the tests share."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from stages.files import read_json, sha256_folder
from stages.tables import COLUMNS, read_table, write_table
from tests.test_pipeline import ROOT, STAGES, outs

pytestmark = pytest.mark.slow

SIZE = {"vocab_size": 1024, "hidden_size": 32, "layers": 1, "heads": 2}
TRAINING = {"scratch": SIZE, "epochs": 1.0, "batch_size": 8}
SMALL: dict[str, dict[str, Any]] = {
    "corpus.demo": {
        "domains": ["bakery", "music"], "train_databases": 4, "dev_databases": 1, "test_databases": 1,
        "train_questions": 10, "dev_questions": 5, "test_questions": 5,
    },
    "candidates": {"n": 4, "max_tokens": 8, "batch_size": 4},
    "pairs": {"keep_gold": True},  # such a model is never right
    "train_dpo": {"batch_size": 16},
    "evaluate": {"n": 2, "max_tokens": 8, "resamples": 100},
}  # fmt: skip
AFTER_PAIRS = ["pairs", "validate@pairs", "train_dpo", "evaluate@dpo-demo-dev", "evaluate@dpo-demo-test"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with small params, after its first `dvc repro`, all committed."""
    folder = tmp_path_factory.mktemp("copy")
    copy_repository(folder)
    cut_down(folder / "params.yaml")
    commit(folder)
    run(folder, "dvc", "repro")
    commit(folder)
    return folder


def copy_repository(folder: Path) -> None:
    """What git tracks or would track, as a repository of its own, with nothing committed."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in listed.splitlines():
        if (ROOT / name).is_file():  # a file deleted and not committed is listed too
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    run(folder, "git", "init", "--quiet")
    run(folder, "git", "config", "user.name", "Test")
    run(folder, "git", "config", "user.email", "test@example.org")


@pytest.fixture
def repository(copy: Path) -> Iterator[Path]:
    """The copy; what a test changes in it is put back."""
    yield copy
    run(copy, "git", "checkout", "--", ".")
    run(copy, "dvc", "checkout", "--force")


def cut_down(file: Path) -> None:
    yaml = YAML()
    params = yaml.load(file.read_text())
    for section, values in SMALL.items():
        reduce(getitem, section.split("."), params).update(values)
    for role in ("strong", "weak"):
        params["train_sft"][role].update(TRAINING)
    with file.open("w") as opened:
        yaml.dump(params, opened)


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "a version")


def environment() -> dict[str, str]:
    """A user's environment: the virtual environment's commands come first, the modules are the copy's."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}


def attempt(folder: Path, *command: str) -> tuple[int, str]:
    """Exit status and output, both streams."""
    done = subprocess.run(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def run(folder: Path, *command: str) -> str:
    status, output = attempt(folder, *command)
    assert status == 0, f"{' '.join(command)} ended with {status}:\n{output}"
    return output


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(.+?)'", output)


def test_every_output_is_there_and_every_receipt_is_valid(repository: Path) -> None:
    missing = [path for stage in STAGES.values() for path in outs(stage) if not (repository / path).exists()]
    assert not missing
    for dataset in COLUMNS:
        table = read_table(repository / "data" / f"{dataset}.parquet", dataset)
        receipt = read_json(repository / "reports" / "validation" / f"{dataset}.json")
        assert (receipt["valid"], receipt["rows"]) == (True, table.height)
        assert table.height > 0
    for model in ("sft/strong", "sft/weak", "dpo"):
        assert (repository / "models" / model / "model.safetensors").exists()
    assert not list(repository.rglob("*.partial"))


def test_a_second_repro_runs_nothing(repository: Path) -> None:
    output = run(repository, "dvc", "repro")
    assert stages_run(output) == []
    assert "Data and pipelines are up to date." in output


def test_metrics_and_plots_are_read_by_dvc(repository: Path, tmp_path: Path) -> None:
    shown = run(repository, "dvc", "metrics", "show", "--md")
    assert "reports/evaluate/dpo-demo-test.json" in shown and "| ex |" in re.sub(" +", " ", shown)
    run(repository, "dvc", "plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    for curve in ("train_dpo/plots/metrics", "train_sft/strong/plots/metrics", "evaluate/dpo-demo-test.samples.csv"):
        assert curve in page


def test_another_neg_limit_runs_what_depends_on_pairs_and_nothing_else(repository: Path) -> None:
    before = read_json(repository / "reports" / "pairs.json")["out"]
    output = run(repository, "dvc", "exp", "run", "-S", "pairs.neg_limit=3")
    assert sorted(stages_run(output)) == sorted(AFTER_PAIRS)
    after = read_json(repository / "reports" / "pairs.json")["out"]
    assert isinstance(before, int) and isinstance(after, int) and before < after
    changes = re.sub(" +", " ", run(repository, "dvc", "metrics", "diff", "--md"))
    assert f"| reports/pairs.json | out | {before} | {after} |" in changes
    assert "neg_limit" in run(repository, "dvc", "params", "diff")


def test_a_nonsense_param_stops_the_run_with_a_sentence(repository: Path) -> None:
    status, output = attempt(repository, "dvc", "exp", "run", "-S", "pairs.neg_limit=0")
    assert status != 0
    assert "error: params.yaml: `pairs.neg_limit` is 0; give 1 or more, or null for no limit" in output
    assert "Traceback" not in output


def test_pairs_changed_by_hand_after_validation_train_nothing(repository: Path) -> None:
    model = sha256_folder(repository / "models" / "dpo")
    edit_pairs(repository, lambda pairs: pairs.head(pairs.height - 1))
    status, output = attempt(repository, "bash", "-c", STAGES["train_dpo"]["cmd"])
    assert status == 2
    assert "error: data/pairs.parquet has changed since reports/validation/pairs.json was written" in output
    assert sha256_folder(repository / "models" / "dpo") == model


def test_a_pair_that_breaks_the_contract_stops_the_run_at_its_validation(repository: Path) -> None:
    model = sha256_folder(repository / "models" / "dpo")
    first = pl.col("pair_id") == pl.col("pair_id").first()
    rejected = pl.when(first).then("chosen").otherwise("rejected").alias("rejected")
    pair_id = edit_pairs(repository, lambda pairs: pairs.with_columns(rejected))
    run(repository, "dvc", "commit", "--force", "pairs")
    status, output = attempt(repository, "dvc", "repro", "train_dpo")
    assert status != 0
    assert stages_run(output) == ["validate@pairs"]
    assert f"row 0 (pair_id = '{pair_id}'" in output
    assert sha256_folder(repository / "models" / "dpo") == model


def edit_pairs(repository: Path, change: Any) -> str:
    """Changes `data/pairs.parquet` behind DVC's back; the id of its first pair."""
    path = repository / "data" / "pairs.parquet"
    pairs = read_table(path, "pairs")
    path.unlink()
    write_table(change(pairs), path, "pairs")
    return str(pairs["pair_id"][0])


def test_a_repro_killed_half_way_ends_with_the_same_versions(repository: Path) -> None:
    command = ["dvc", "repro", "--force", "--single-item", "candidates"]  # forced, or it is taken from DVC's cache
    process = subprocess.Popen(
        command, cwd=repository, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not samples_kept():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (repository / "data" / "candidates.parquet").exists()
    assert stages_run(run(repository, *command)) == ["candidates"]
    assert run(repository, "git", "status", "--porcelain") == ""


def samples_kept() -> int:
    """How many records are in the cache of this test."""
    file = Path(os.environ["XDG_CACHE_HOME"]) / "sense" / "records.sqlite"
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM record").fetchone()[0])
    except sqlite3.OperationalError:  # it is not there yet
        return 0
