"""What a training prints: how far it is, its end line, and nothing of the libraries'."""

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from stages import train_sft
from stages.core import progress
from stages.core.files import read_json
from tests import ROOT
from tests.test_train_sft import PARAMS, REPORT, interrupt
from tests.workplace import put, set_arguments, write_params


@pytest.fixture
def folder(tmp_path: Path, sft_rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the SFT set and the params of 12 steps, with a checkpoint after 10."""
    monkeypatch.chdir(tmp_path)
    put("sft", sft_rows)
    write_params(train_sft={"weak": PARAMS})
    return tmp_path


def test_a_training_prints_its_size_and_its_end_line_and_no_library_anything(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stages.train_sft", "--role=weak"], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = read_json(REPORT)
    loss = f"loss {report['first_loss']} to {report['last_loss']}"
    expected = f"train_sft weak: 96 rows, 0 dropped, 12 steps, {loss}; see {REPORT} ("
    assert re.fullmatch(r"training weak: 96 rows of [^\n]+ activations come on top\n", done.stderr)
    assert done.stdout.startswith(expected) and done.stdout.count("\n") == 1


def test_a_resumed_training_goes_on_at_its_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_arguments(monkeypatch, "train_sft", "--role=weak")
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train_sft, "save_model", interrupt)
        train_sft.main()
    steps = re.findall(r"^training weak: (\d+) of 12, ", capsys.readouterr().err, re.MULTILINE)
    assert int(steps[0]) <= 1 and int(steps[-1]) >= 10 and steps == sorted(steps, key=int)
    train_sft.main()
    shown = capsys.readouterr().err
    steps = re.findall(r"^training weak: (\d+) of 12, ", shown, re.MULTILINE)
    assert set(steps) <= {"10", "11", "12"} and "\r" not in shown
    assert re.search(r"^training weak: 1\d of 12, .* left, loss \d", shown, re.MULTILINE)
