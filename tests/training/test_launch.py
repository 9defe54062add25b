"""Handing a stage over to `accelerate launch`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.errors import UserError
from stages.training import launch as launching
from stages.training.launch import launch
from tests import ROOT

FSDP = "models/accelerate/fsdp.yaml"


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that took the place of the process."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append(command))
    monkeypatch.setattr(sys, "argv", ["train_sft.py", "--role=weak"])
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    return commands


def test_without_a_config_the_stage_goes_on_alone_on_one_gpu(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch("train_sft")
    assert not started and os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    launch("train_sft")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_config_hands_the_stage_with_its_arguments_over_once(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_ACCELERATE", FSDP)
    launch("train_sft")
    module = ["-m", "stages.training.launch", "--config_file", FSDP, "-m", "stages.train_sft", "--role=weak"]
    assert started == [[sys.executable, *module]]
    assert not {"SENSE_ACCELERATE", "CUDA_VISIBLE_DEVICES"} & os.environ.keys()  # of what is launched


def test_a_launched_process_keeps_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    launch("train_sft")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_config_that_does_not_exist_is_named(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_ACCELERATE", "models/accelerate/none.yaml")
    with pytest.raises(UserError, match=r"SENSE_ACCELERATE is models/accelerate/none.yaml, which does not exist; name"):
        launch("train_sft")
    assert not started


def test_without_deepspeed_its_config_is_refused(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_ACCELERATE", "models/accelerate/zero3.yaml")
    monkeypatch.setattr(launching, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"zero3.yaml, which needs DeepSpeed; install it with `pip install '.\[deeps"):
        launch("train_sft")
    assert not started


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("README.md", "SENSE_ACCELERATE is README.md, and README.md is not valid YAML"),
        ("params.yaml", "SENSE_ACCELERATE is params.yaml, which has no `distributed_type`; compare models/"),
    ],
)
def test_a_file_that_is_no_config_is_reported(
    file: str, message: str, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_ACCELERATE", file)
    with pytest.raises(UserError) as caught:
        launch("train_sft")
    assert caught.value.sentences[0].startswith(message) and not started


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{distributed_type: 'NO', num_processes: 1, use_cpu: true}", "usage: nothing.py [-h]"),
        ("{distributed_type: 'NO', nonsense: 1}", "error: accelerate refuses the config that SENSE_ACCELERATE names"),
    ],
)
def test_a_mistake_reported_by_the_launched_stage_ends_with_status_2_and_no_traceback(
    config: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "nothing.py").write_text("import argparse\nargparse.ArgumentParser().parse_args()\n")
    launcher = [sys.executable, "-m", "stages.training.launch"]
    command = [*launcher, "--config_file", "config.yaml", "-m", "nothing", "--what"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
