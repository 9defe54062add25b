"""The whole pipeline under DVC, on a cut-down corpus in a copy of the repository that the tests share."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, closing
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from stages.core.files import read_json, sha256_folder
from stages.core.layout import TIMES
from stages.core.tables import read_any, write_dataset
from stages.datasets.catalog import DATASETS
from stages.datasets.pairs import PAIRS
from tests import ROOT
from tests.cached import records_in
from tests.hub import OWNER, hub_of
from tests.test_pipeline import DEFAULT_STAGES as STAGES
from tests.test_pipeline import covered, deps, outs
from tests.test_readme import blocks

pytestmark = pytest.mark.slow

SIZE = {"vocab_size": 1024, "hidden_size": 32, "layers": 1, "heads": 2}
TRAINING = {"scratch": SIZE, "epochs": 1.0, "batch_size": 8}
SMALL: dict[str, dict[str, Any]] = {
    "corpus.demo": {
        "domains": ["bakery", "music"], "strong_domains": 1,
        "train_databases": 4, "dev_databases": 1, "test_databases": 1,
        "train_questions": 10, "dev_questions": 5, "test_questions": 5,
    },
    "synthesize": {"items": 12, "questions_per_database": 4},
    "candidates": {"n": 4, "max_tokens": 8, "batch_size": 4},
    "pairs": {"keep_gold": True},  # such a model is never right
    "train_dpo": {"batch_size": 16},
    "evaluate": {"n": 2, "max_tokens": 8, "resamples": 100},
}  # fmt: skip
AFTER_PAIRS = [
    "check_params", "pairs", "validate@pairs", "train_dpo", "evaluate@dpo-demo-dev", "evaluate@dpo-demo-test",
    "validate_answers@dpo-demo-dev", "validate_answers@dpo-demo-test", "report", "publish",
]  # fmt: skip

OPENS, OUTPUT = ".git/opens.jsonl", ".git/output"  # git keeps no version of them
"""What each stage opened in the first run."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with small params, after its first `dvc repro`, all committed."""
    folder = tmp_path_factory.mktemp("copy")
    copy_repository(folder)
    cut_down(folder / "params.yaml")
    commit(folder)
    opens = {"PYTHONPATH": str(ROOT / "tests" / "traced_opens"), "TRACED_OPENS": str(folder / OPENS)}
    (folder / OUTPUT).write_text(run(folder, "dvc", "repro", **opens))
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
    """The copy; what a test changes or commits in it is put back."""
    head = run(copy, "git", "rev-parse", "HEAD").strip()
    yield copy
    run(copy, "git", "reset", "--quiet", "--hard", head)
    run(copy, "git", "read-tree", head)  # without the sizes and times by which git takes a changed file for the old one
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


def environment(**own: str) -> dict[str, str]:
    """A user's environment: the virtual environment's commands come first, the modules are the copy's."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "HF_HUB_OFFLINE": "1"} | own


def attempt(folder: Path, *command: str, **own: str) -> tuple[int, str]:
    """Exit status and output, both streams. `own`: of the environment."""
    done = subprocess.run(
        command, cwd=folder, env=environment(**own), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def run(folder: Path, *command: str, **own: str) -> str:
    status, output = attempt(folder, *command, **own)
    assert status == 0, f"{' '.join(command)} ended with {status}:\n{output}"
    return output


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(.+?)'", output)


def test_every_output_is_there_and_every_receipt_is_valid(repository: Path) -> None:
    missing = [path for stage in STAGES.values() for path in outs(stage) if not (repository / path).exists()]
    assert not missing
    for dataset in DATASETS:
        table = read_any(repository / "data" / f"{dataset}.parquet")
        receipt = read_json(repository / "reports" / "validation" / f"{dataset}.json")
        assert (receipt["valid"], receipt["rows"]) == (True, table.height)
        assert table.height > 0 or dataset == "counterexamples"  # so small a model matches nothing
    for model in ("sft/strong", "sft/weak", "dpo"):
        assert (repository / "models" / model / "model.safetensors").exists()
    assert not list(repository.rglob("*.partial"))


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_opens_only_its_deps_and_writes_only_its_outs(name: str, copy: Path) -> None:
    stage, made = STAGES[name], outs(STAGES[name])
    opened = [
        (is_written, re.sub(r"(\.new)?\.partial(?=/|$)", "", path))
        for command, is_written, path in map(json.loads, (copy / OPENS).read_text().splitlines())
        if command == stage["cmd"] and path != str(TIMES)
    ]
    may_read = deps(stage) | made | ({"params.yaml"} if "params" in stage else set())
    assert not {path for is_written, path in opened if not covered(path, made if is_written else may_read)}
    assert not {out for out in made if not any(is_written and covered(path, {out}) for is_written, path in opened)}


@pytest.mark.parametrize("name", [name for name in STAGES if name != "report"])  # which shows the figures first
def test_a_stage_prints_its_end_line_and_no_noise(name: str, copy: Path) -> None:
    part = (copy / OUTPUT).read_text().partition(f"Running stage '{name}':\n")[2].partition("\n\n")[0]
    of_dvc = ("Updating lock file", "Generating lock file", "Use `dvc push`")
    estimate = "training "  # what a run will take, told before its first step
    lines = [line for line in part.splitlines() if not line.startswith((*of_dvc, estimate))]
    module = STAGES[name]["cmd"].split()[2].removeprefix("stages.")
    assert lines[0] == f"> {STAGES[name]['cmd']}" and len(lines) == 2, part
    assert re.fullmatch(rf"{module}\b.*: .+; see reports/\S+ \(\d+ s\)", lines[1])


def test_the_time_of_each_stage_is_recorded(copy: Path) -> None:
    records = [json.loads(line) for line in (copy / TIMES).read_text().splitlines()]
    assert sorted(record["stage"] for record in records) == sorted(STAGES)
    assert all(record["seconds"] >= 0 for record in records)


def test_a_second_repro_runs_nothing(repository: Path) -> None:
    output = run(repository, "dvc", "repro")
    assert stages_run(output) == []
    assert "Data and pipelines are up to date." in output


def test_unfinished_work_beside_an_output_re_runs_nothing(repository: Path) -> None:
    work = [repository / "models/sft/strong.partial", repository / "reports/evaluate/dpo.json.new.partial"]
    try:
        work[0].mkdir()
        (work[0] / "key").write_text("a")
        work[1].write_text("{}")
        assert "up to date" in run(repository, "dvc", "status")
    finally:
        shutil.rmtree(work[0])
        work[1].unlink()


def test_metrics_and_plots_are_read_by_dvc(repository: Path, tmp_path: Path) -> None:
    shown = run(repository, "dvc", "metrics", "show", "--md")
    assert re.sub(" +", " ", shown).startswith("| Path | demo-dev.dpo.ex | ")
    run(repository, "dvc", "plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    plots = ("train_dpo/plots/metrics", "train_sft/strong/plots/metrics", "plots/samples.csv", "plots/difficulty.csv")
    for curve in plots:
        assert curve in page


def test_another_neg_limit_runs_what_depends_on_pairs_and_nothing_else(repository: Path) -> None:
    before = read_json(repository / "reports" / "pairs.json")["out"]
    output = run(repository, "dvc", "exp", "run", "-S", "pairs.neg_limit=3")
    assert sorted(stages_run(output)) == sorted(AFTER_PAIRS)
    after = read_json(repository / "reports" / "pairs.json")["out"]
    assert isinstance(before, int) and isinstance(after, int) and before < after
    changes = re.sub(" +", " ", run(repository, "dvc", "metrics", "diff", "--md"))
    assert f"| reports/metrics.json | pairs | {before} | {after} |" in changes
    assert "neg_limit" in run(repository, "dvc", "params", "diff")


def test_a_partial_run_is_told_with_its_params_and_the_stages_that_did_not_run(repository: Path) -> None:
    run(repository, "dvc", "exp", "run", "-S", "pairs.neg_limit=4", "validate@pairs")
    told = re.sub(" +", " ", run(repository, "python", "-m", "stages.diff", "HEAD"))
    params, stale = told.split("\n\n")[1:3]
    assert params == "params\n pairs.neg_limit 1 -> 4"
    assert re.findall(r"^ (\S+)", stale, re.MULTILINE) == [
        "train_dpo", "evaluate@dpo-demo-dev", "evaluate@dpo-demo-test", "validate_answers@dpo-demo-dev",
        "validate_answers@dpo-demo-test", "report", "publish",
    ]  # fmt: skip


def test_an_export_alone_is_not_made_with_params_that_the_data_was_not_made_with(repository: Path) -> None:
    edit_params(repository, pairs={"neg_limit": 4})
    status, output = attempt(repository, "dvc", "repro", "--single-item", "publish")
    assert status != 0 and "error: stage `pairs` is stale (pairs.neg_limit: 1 -> 4), and cards would" in output


def test_a_nonsense_param_stops_the_run_with_a_sentence(repository: Path) -> None:
    wrong = ["-S", "pairs.neg_limit=0", "-S", "train_dpo.objective=ktoo"]
    status, output = attempt(repository, "dvc", "exp", "run", *wrong)
    assert status != 0 and stages_run(output) == ["check_params"]
    assert "error: params.yaml: `pairs.neg_limit` is 0; give 1 or more, or null for no limit" in output
    assert "error: params.yaml: `train_dpo.objective` is 'ktoo'; " in output
    assert "Traceback" not in output
    assert (repository / "models" / "dpo").is_dir()  # DVC removes what a stage makes before that stage runs


def test_pairs_changed_by_hand_after_validation_train_nothing(repository: Path) -> None:
    model = sha256_folder(repository / "models" / "dpo")
    edit_pairs(repository, lambda pairs: pairs.head(pairs.height - 1))
    status, output = attempt(repository, "bash", "-c", STAGES["train_dpo"]["cmd"])
    assert status == 2
    assert "error: data/pairs.parquet has changed since reports/validation/pairs.json was written" in output
    assert sha256_folder(repository / "models" / "dpo") == model


def test_a_pair_that_breaks_its_suite_stops_the_run_at_its_validation(repository: Path) -> None:
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


def test_a_dataset_is_got_and_imported_from_the_git_repository(repository: Path, tmp_path: Path) -> None:
    run(repository, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    run(repository, "dvc", "push", "pairs")
    run(repository, "git", "commit", "--quiet", "--all", "--message", "a remote")
    (tmp_path / "user").mkdir()
    run(tmp_path / "user", "git", "init", "--quiet")
    run(tmp_path / "user", "dvc", "init", "--quiet")
    (repository / ".dvc" / "cache").rename(tmp_path / "cache")  # so that it comes from the remote
    try:
        run(tmp_path / "user", "dvc", "get", str(repository), "data/pairs.parquet", "--out", "got.parquet")
        run(tmp_path / "user", "dvc", "import", str(repository), "data/pairs.parquet")
    finally:
        (tmp_path / "cache").rename(repository / ".dvc" / "cache")
    asked = read_any(repository / "data" / "pairs.parquet")
    assert read_any(tmp_path / "user" / "got.parquet").equals(asked)
    assert read_any(tmp_path / "user" / "pairs.parquet").equals(asked)
    assert str(repository) in (tmp_path / "user" / "pairs.parquet.dvc").read_text()  # with the commit it came from


def test_a_release_goes_as_the_readme_says(repository: Path, tmp_path: Path) -> None:
    """The first release, and the next, from a changed param to the Hub, the git remote and the DVC remote; what is not
    so here is put in its place."""
    run(repository, "git", "init", "--quiet", "--bare", str(tmp_path / "origin"))
    run(repository, "git", "remote", "add", "origin", str(tmp_path / "origin"))
    run(repository, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    repositories = {"dataset": f"{OWNER}/demo", "models": {"dpo": f"{OWNER}/demo-dpo"}}
    edit_params(repository, publish={"version": "v0.1.0", **repositories})
    [release] = [block for block in blocks("bash") if "stages.push" in block]
    log_in = "hf auth login"  # the token is in the environment
    assert log_in in release
    release = release.replace(log_in, "true")
    first = re.sub(r"^.* stages\.diff .*\n", "", release, flags=re.MULTILINE).replace("v0.2.0", "v0.1.0")
    with pytest.MonkeyPatch.context() as patch, hub_of(patch, tmp_path) as hub:
        own = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        assert stages_run(run(repository, "bash", "-ec", first, **own)) == ["check_params", "publish"]
        assert hub.dataset(f"{OWNER}/demo").files("v0.1.0")
        edit_params(repository, pairs={"neg_limit": 2}, publish={"version": "v0.2.0"})
        output = run(repository, "bash", "-ec", release, **own)
        assert run(repository, "git", "status", "--porcelain") == ""
        ran = stages_run(output)  # of the others DVC may have run some before, with what they give
        assert ran[:2] == ["check_params", "pairs"] and set(ran[-2:]) == {"report", "publish"}
        pushed = hub.dataset(f"{OWNER}/demo").files("v0.2.0")
        assert "model.safetensors" in hub.model(f"{OWNER}/demo-dpo").files("v0.2.0")
        again = run(repository, "python", "-m", "stages.push", **own)
        assert "demo v0.2.0: was there already" in again
        assert stages_run(run(repository, "dvc", "repro")) == []
    head = run(repository, "git", "rev-parse", "v0.2.0").strip()
    assert f"| git commit | `{head}` |" in pushed["README.md"].decode()
    assert run(repository, "git", "ls-remote", "origin", "v0.2.0").startswith(head)
    assert "v0.1.0" in (repository / "CHANGELOG.md").read_text().split("### Data")[1]


def test_pairs_are_made_of_own_databases_and_predictions_as_the_readme_says(tmp_path: Path) -> None:
    folder, own = tmp_path / "copy", tmp_path / "own"
    folder.mkdir()
    copy_repository(folder)
    commit(folder)
    for name in ("databases", "predictions"):
        (own / name).mkdir(parents=True)
    with closing(sqlite3.connect(own / "databases" / "zoo.sqlite")) as database:
        database.execute("CREATE TABLE animal (name TEXT, legs INT)")
        database.execute("INSERT INTO animal VALUES ('ox', 4), ('owl', 2)")
        database.commit()
    golds = ["SELECT name FROM animal WHERE legs > 2", "SELECT count(*) FROM animal"]
    questions = [{"question": f"Question {n}?", "db_id": "zoo", "gold_sql": sql} for n, sql in enumerate(golds)]
    (own / "questions").write_text("\n".join(map(json.dumps, questions)))
    (own / "predictions" / "one.txt").write_text(f"{golds[0]}\nSELECT 1\n")
    (own / "predictions" / "two.txt").write_text(f"SELECT name FROM animal\n{golds[1]}\n")
    [block] = [block for block in blocks("bash") if "cp PREDICTIONS" in block]
    for name in ("DATABASES", "QUESTIONS", "PREDICTIONS"):
        block = block.replace(f" {name}", f" {own / name.lower()}")
    run(folder, "bash", "-ec", block)
    pairs = read_any(folder / "data" / "pairs.parquet").sort("question_id")
    assert pairs["chosen"].to_list() == golds and pairs["rejected"].to_list() == ["SELECT name FROM animal", "SELECT 1"]


def edit_params(repository: Path, **sections: dict[str, Any]) -> None:
    yaml, file = YAML(), repository / "params.yaml"
    params = yaml.load(file.read_text())
    for section, values in sections.items():
        params[section].update(values)
    with file.open("w") as opened:
        yaml.dump(params, opened)


def edit_pairs(repository: Path, change: Any) -> str:
    """Changes `data/pairs.parquet` behind DVC's back; the id of its first pair."""
    path = repository / "data" / "pairs.parquet"
    pairs = read_any(path)
    path.unlink()
    with chdir(repository):
        write_dataset(change(pairs), PAIRS)
    return str(pairs["pair_id"][0])


def test_a_repro_killed_half_way_ends_with_the_same_versions(repository: Path) -> None:
    command = ["dvc", "repro", "--force", "--single-item", "candidates"]  # forced, or it is taken from DVC's cache
    process = subprocess.Popen(
        command, cwd=repository, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not len(records_in(Path(os.environ["XDG_CACHE_HOME"]) / "sense")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (repository / "data" / "candidates.parquet").exists()
    assert stages_run(run(repository, *command)) == ["candidates"]
    assert run(repository, "git", "diff", "HEAD") == ""
    assert run(repository, "git", "status", "--porcelain") == ""
