"""DVCLive's folder of a training."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from stages.core.files import read_json, sha256_folder
from stages.training.dvclive import live_callback

STEPS: list[dict[str, float]] = [
    {"step": 1, "loss": 2.0, "rewards/chosen": 1 / 3, "num_tokens": 9.0},
    {"step": 10, "loss": 0.123456789, "rewards/chosen": -1e-9, "num_tokens": 90.0},
]
LAST = {"step": 12, "train_runtime": 3.0, "train_loss": 1.0}


def write(folder: Path, earlier: list[dict[str, float]], logged: list[dict[str, float]], main: bool = True) -> None:
    """A training that starts with the `known` steps and then logs others."""
    callback = live_callback(folder)
    state = TrainerState(log_history=list(earlier), is_world_process_zero=main)
    given: tuple[Any, ...] = (SimpleNamespace(spec=TrainingArguments), state, TrainerControl())
    callback.on_train_begin(*given)
    for entry in logged:
        state.log_history.append(entry)
        callback.on_log(*given)


def test_each_metric_has_its_steps_and_the_last_ones_are_summed_up(tmp_path: Path) -> None:
    write(tmp_path, [], [*STEPS, LAST])
    plots = tmp_path / "plots" / "metrics"
    assert (plots / "loss.tsv").read_text() == "step\tloss\n1\t2.0\n10\t0.123457\n"
    assert (plots / "rewards" / "chosen.tsv").read_text() == "step\tchosen\n1\t0.333333\n10\t-1e-09\n"
    assert read_json(tmp_path / "metrics.json") == {"loss": 0.123457, "rewards": {"chosen": -1e-9}, "step": 10}
    assert len(list(tmp_path.rglob("*.*"))) == 3


def test_a_training_that_resumes_writes_what_its_checkpoint_knows(tmp_path: Path) -> None:
    write(tmp_path / "whole", [], [*STEPS, LAST])
    write(tmp_path / "resumed", [], STEPS)
    write(tmp_path / "resumed", STEPS[:1], [STEPS[1], LAST])
    assert sha256_folder(tmp_path / "whole") == sha256_folder(tmp_path / "resumed")


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    write(tmp_path / "live", STEPS, [LAST], main=False)
    assert not (tmp_path / "live").exists()


def test_nothing_is_sent_and_nothing_but_the_folder_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, check=True)
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *author, "commit", "-q", "-m", "one"], check=True)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))  # as in a stage that DVC started, where a token is set
    monkeypatch.setenv("DVC_STUDIO_TOKEN", "token")
    monkeypatch.setenv("DVC_STUDIO_REPO_URL", "https://example.org/repository")
    monkeypatch.setattr("requests.post", no_network)
    write(Path("live"), [], [*STEPS, LAST])
    status = subprocess.check_output(["git", "status", "--short"], text=True)
    assert status == "?? live/\n"
    assert not list(Path(".dvc/tmp").rglob("*LIVE*"))


def no_network(*_: Any, **__: Any) -> None:
    raise AssertionError("the network was asked for")
