"""The table of a small sweep: of a DVC repository whose stages take no time, through its queue."""

import json
import shutil
import time
from pathlib import Path
from typing import Any, Self

import pytest

from stages.core.errors import UserError
from stages.sweep import experiments_of
from tests import ROOT
from tests.diffing.world import new_repository, run
from tests.test_end_to_end import attempt
from tests.test_evaluate import PARAMS as EVALUATE

pytestmark = pytest.mark.slow

PIPELINE = """
stages:
  pairs:
    cmd: mkdir -p reports && echo '{"out":' ${pairs.neg_limit} '}' > reports/pairs.json
    params: [pairs]
    outs: [reports/pairs.json: {cache: false}]
  evaluate:
    matrix: {model: [dpo], test_set: [demo-dev]}
    cmd: python answer.py ${pairs.neg_limit} ${pairs.keep_gold} data/answers/${item.model}-${item.test_set}.parquet
    deps: [reports/pairs.json]
    params: [pairs.keep_gold]
    outs: ["data/answers/${item.model}-${item.test_set}.parquet"]
"""
ANSWER = """
import sys
from pathlib import Path
import polars as pl

limit, keep_gold, file = sys.argv[1:]
count = 8 if keep_gold == "true" else 10
right = {"1": 5, "2": 6, "3": 8}[limit]
verdicts = ["match" if number < right else "mismatch" for number in range(count)]
rows = [{"question_id": f"q{number}", "sample": None, "verdict_strict": verdicts[number]} for number in range(count)]
rows += [{"question_id": "q0", "sample": 0, "verdict_strict": "mismatch"}]
Path(file).parent.mkdir(parents=True, exist_ok=True)
pl.DataFrame(rows, schema_overrides={"sample": pl.Int64}).write_parquet(file)
"""
COMMAND = ("python", "-m", "stages.sweep", "--model", "dpo", "--test-set", "demo-dev")


def call(folder: Path, *words: str) -> tuple[int, str]:
    return attempt(folder, *words, DVC_SITE_CACHE_DIR=str(folder.with_name("site")), PYTHONPATH=str(ROOT))


def dvc(folder: Path, *words: str) -> str:
    status, output = call(folder, "dvc", *words)
    assert status == 0, output
    return output


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository after a sweep: neg_limit 2 and 3 end well, 4 fails; 3 with keep_gold answers fewer questions; one
    is partial, and one still queued."""
    folder = tmp_path_factory.mktemp("repository")
    new_repository(folder)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "answer.py").write_text(ANSWER)
    params = {"pairs": {"neg_limit": 1, "keep_gold": False, "seed": 7}, "evaluate": EVALUATE}
    (folder / "params.yaml").write_text(json.dumps(params))
    dvc(folder, "repro")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "a version")
    dvc(folder, "exp", "run", "--queue", "-S", "pairs.neg_limit=2,3,4")
    dvc(folder, "exp", "run", "--queue", "-S", "pairs.neg_limit=3", "-S", "pairs.keep_gold=true", "--name", "fewer")
    dvc(folder, "queue", "start", "-j", "2")
    end = time.monotonic() + 300
    while "Queued" in (status := dvc(folder, "queue", "status")) or "Running" in status:
        assert time.monotonic() < end, status
        time.sleep(1)
    dvc(folder, "exp", "run", "--temp", "--name", "partial", "-S", "pairs.neg_limit=2", "pairs")
    dvc(folder, "exp", "run", "--queue", "--name", "waiting", "-S", "pairs.neg_limit=5")
    return folder


def settings_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What the command writes of each setting, by its name."""
    status, output = call(folder, *COMMAND, "--json", "sweep.json")
    assert status == 0, output
    return dict(json.loads((folder / "sweep.json").read_text())["settings"])


def test_the_table_has_a_row_for_each_experiment_that_can_be_compared(swept: Path) -> None:
    settings, output = list(settings_of(swept).values()), call(swept, *COMMAND)[1]
    assert [(one["params"], one["pairs"], one["ex"], one["difference"][0]) for one in settings] == [
        ({"pairs.neg_limit": limit}, limit, ex, ex - 50) for limit, ex in ((1, 50.0), (2, 60.0), (3, 80.0))
    ]
    assert output.startswith("| experiment | `pairs.neg_limit` | pairs | EX of dpo, demo-dev (10) | difference from")
    assert "| 3 | 3 | 80.0 | +30.0 (" in output


def test_every_other_experiment_is_named_with_the_reason(swept: Path) -> None:
    _, output = call(swept, *COMMAND)
    reasons = dict(line.removeprefix("left out: ").split(": ", 1) for line in output.splitlines() if "left out" in line)
    [failed] = reasons.keys() - {"fewer", "partial", "waiting"}
    assert reasons == {
        failed: f"it failed; `dvc queue logs {failed}` tells why",
        "fewer": "it answers other questions than HEAD",
        "partial": "its answers are older than their inputs (reports/pairs.json); run its pipeline to the end",
        "waiting": "it is still queued; `dvc queue start` runs it",
    }


def test_an_experiment_can_be_the_baseline(swept: Path) -> None:
    [*_, best] = settings_of(swept)
    status, output = call(swept, *COMMAND, "--baseline", best)
    assert status == 0 and f"| {best} | 3 | 3 | 80.0 |  |" in output and "HEAD" not in output
    assert "| 2 | 2 | 60.0 | -20.0 (" in output


def test_answers_that_the_cache_lacks_are_named(swept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(swept, folder, symlinks=True)
    shutil.rmtree(folder / ".dvc" / "cache")
    status, output = call(folder, *COMMAND)
    assert status == 2
    assert "error: the baseline HEAD cannot be used: data/answers/dpo-demo-dev.parquet neither in DVC's cache" in output


def test_a_commit_without_experiments_is_told(swept: Path) -> None:
    commit = run(swept, "git", "commit-tree", "HEAD^{tree}", "-m", "a later version").strip()
    run(swept, "git", "branch", "--force", "later", commit)
    status, output = call(swept, *COMMAND, "--rev", "later")
    assert status == 2
    assert "error: no experiment that began at later can be compared with later; `dvc exp show" in output


def test_all_mistakes_are_told_at_once(swept: Path) -> None:
    status, output = call(swept, *COMMAND, "--rev", "never", "--baseline", "neither", "--json", "/proc/x")
    assert status == 2
    assert [line.split(" (")[0].split(" is no")[0].split(" cannot")[0] for line in output.splitlines()] == [
        "error: --json /proc/x", "error: --rev never", "error: --baseline neither",
    ]  # fmt: skip


def test_outside_of_a_repository_a_sentence_says_where_to_run_it(tmp_path: Path) -> None:
    status, output = call(tmp_path, *COMMAND)
    assert status == 2 and "error: this folder is in no git repository" in output


class KilledQueue:
    """DVC's repository where a task of its queue was killed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @property
    def experiments(self) -> Self:
        return self

    def show(self, **arguments: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory", "exps/run/1a2b.run")


def test_a_queue_that_was_killed_is_a_sentence_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dvc.repo.Repo", KilledQueue)
    with pytest.raises(UserError, match=r"was killed, and lacks exps/run/1a2b\.run; delete the folder"):
        experiments_of("HEAD")
