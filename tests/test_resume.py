"""Expensive stages killed half way (`kill -9`) go on from their finished work, to the bytes of a run never killed.

`exec_results` is killed in `tests/test_exec_results.py`.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.core.files import sha256_file, sha256_folder
from tests import ROOT
from tests.cached import records_in
from tests.test_candidates import PARAMS as CANDIDATES_PARAMS
from tests.test_train_sft import PARAMS as SFT_PARAMS
from tests.training.test_objectives import BLOCKS
from tests.training.test_objectives import PARAMS as DPO_PARAMS
from tests.workplace import put, put_rows, write_params, write_prompts, write_questions

pytestmark = pytest.mark.slow
SIZE = {"vocab_size": 320, "hidden_size": 64, "layers": 2, "heads": 2}
PARAMS = {
    "train_sft": {"weak": SFT_PARAMS | {"scratch": SIZE, "epochs": 20.0}},  # 120 steps, 6 an epoch
    "candidates": CANDIDATES_PARAMS | {"model": "sft/strong", "n": 8, "max_tokens": 64},
    "sft": {"preference_share": 0.0},
    "train_dpo": DPO_PARAMS | {"epochs": 9.5},  # 114 steps, 12 an epoch
    "objectives": BLOCKS,
}
COMMANDS: dict[str, list[str]] = {"train_sft": ["--role=weak"], "candidates": [], "train_dpo": []}
"""Stage to its flags."""
REPORTS = {
    "models/sft/weak": ["reports/train_sft/weak.json", "reports/train_sft/weak"],
    "models/dpo": ["reports/train_dpo.json", "reports/train_dpo"],
    "data/candidates.parquet": ["reports/candidates.json"],
}
"""What a stage makes, to its report and curves."""


@pytest.fixture
def folder(
    tmp_path: Path, sft_rows: pl.DataFrame, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working directory with the inputs and the params of the three stages."""
    monkeypatch.chdir(tmp_path)
    write_training_inputs(sft_rows, model, tokenizer)
    write_params(**PARAMS)
    write_questions(["SELECT 1"] * 200)
    write_prompts()
    return tmp_path


def write_training_inputs(
    sft_rows: pl.DataFrame, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Writes the SFT set, the pairs, their receipts, and the model that preference learning starts from."""
    rows = [
        {
            "pair_id": f"{number:016x}", "question_id": row["question_id"], "db_id": "music", "prompt": row["prompt"],
            "chosen": row["completion"], "rejected": row["completion"][: 9 + number], "chosen_id": None,
            "rejected_id": "0", "rejected_verdict": "mismatch", "similarity": 0.5, "witness": None,
        }
        for number, row in enumerate(sft_rows.to_dicts())
    ]  # fmt: skip
    put("sft", sft_rows)
    put_rows("pairs", rows)
    model.save_pretrained("models/sft/strong")
    tokenizer.save_pretrained("models/sft/strong")


def start(stage: str, folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *COMMANDS[stage]], cwd=folder, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def kill_once(done: Callable[[], bool], stage: str, folder: Path) -> None:
    """Starts the stage and kills it, with all its processes, as soon as `done`."""
    process, end = start(stage, folder), time.monotonic() + 60
    while not done():
        assert process.poll() is None, f"{stage} ended before it could be killed"
        assert time.monotonic() < end, f"{stage} finished no work in a minute"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def finish(stage: str, folder: Path) -> None:
    process = start(stage, folder)
    try:
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()


def made(folder: Path, out: str) -> list[str]:
    """What the stage left: hashes of its outputs. The work folder is gone."""
    path = folder / out
    assert not path.with_name(path.name + ".partial").exists()
    kept = [path, *(folder / report for report in REPORTS[out])]
    return [sha256_folder(path) if path.is_dir() else sha256_file(path) for path in kept]


def steps(work: Path) -> list[int]:
    return sorted(int(mark.parent.name.removeprefix("checkpoint-")) for mark in work.glob("checkpoint-*/whole"))


@pytest.mark.parametrize(
    ("stage", "out", "last"), [("train_sft", "models/sft/weak", 120), ("train_dpo", "models/dpo", 114)]
)
def test_a_killed_training_goes_on_from_its_last_checkpoint_to_the_same_bytes(
    stage: str, out: str, last: int, folder: Path
) -> None:
    finish(stage, folder)
    whole = made(folder, out)
    work = folder / f"{out}.partial"
    kill_once(lambda: bool(steps(work)) and steps(work)[-1] >= 30, stage, folder)
    killed_at = steps(work)[-1]
    assert 30 <= killed_at < last - 20
    state = work / f"checkpoint-{killed_at}" / "trainer_state.json"
    kept = state.stat().st_mtime_ns
    # Killed again once a later checkpoint is there: the run went on from the kept one, and made no earlier one anew.
    kill_once(lambda: steps(work)[-1] > killed_at, stage, folder)
    assert steps(work)[0] >= killed_at and (not state.exists() or state.stat().st_mtime_ns == kept)
    finish(stage, folder)
    assert made(folder, out) == whole


def test_a_killed_sampling_keeps_its_finished_batches_and_ends_with_the_same_bytes(
    folder: Path, cache_folder: Path
) -> None:
    finish("candidates", folder)
    whole, all_of_them = made(folder, "data/candidates.parquet"), records_in(cache_folder)
    shutil.rmtree(cache_folder)
    kill_once(lambda: len(records_in(cache_folder)) >= 3 * 32, "candidates", folder)  # 4 questions × 8 samples a batch
    kept = records_in(cache_folder)
    assert len(kept) < len(all_of_them)
    kill_once(lambda: len(records_in(cache_folder)) > len(kept) + 32, "candidates", folder)
    assert kept.items() <= records_in(cache_folder).items()
    finish("candidates", folder)
    assert made(folder, "data/candidates.parquet") == whole
    assert records_in(cache_folder) == all_of_them
