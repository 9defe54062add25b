"""What both trainings share: resuming, the curve, which rows fit."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
from transformers import PreTrainedTokenizerFast, Trainer

from stages import train_sft
from stages.files import sha256_folder, work_folder
from stages.lm.training import fits, loss_rows, train, trainer_settings
from tests.test_train_sft import params_of


class RecordingTrainer:
    """A trainer that only says where it was told to resume from."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(log_history=[{"step": 10, "loss": 1.0}, {"step": 12, "train_runtime": 3.0}])
        self.resumed_from: str | None = None

    def add_callback(self, callback: object) -> None:
        pass

    def train(self, resume_from_checkpoint: str | None) -> None:
        self.resumed_from = resume_from_checkpoint


def checkpoint(work: Path, step: int, whole: bool) -> Path:
    folder = work / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    if whole:
        (folder / "whole").write_text("")
    return folder


def resumed_from(work: Path) -> str | None:
    trainer = RecordingTrainer()
    train(cast(Trainer, trainer), work)
    return trainer.resumed_from


def test_an_unfinished_checkpoint_is_never_resumed_from(tmp_path: Path) -> None:
    for step in (90, 100):
        checkpoint(tmp_path, step, whole=True)
    cut_short = checkpoint(tmp_path, 110, whole=False)
    assert resumed_from(tmp_path) == str(tmp_path / "checkpoint-100")
    assert not cut_short.exists()


def test_without_a_whole_checkpoint_training_starts_anew(tmp_path: Path) -> None:
    checkpoint(tmp_path, 10, whole=False)
    assert resumed_from(tmp_path) is None


def test_the_history_is_the_logged_losses_alone(tmp_path: Path) -> None:
    assert train(cast(Trainer, RecordingTrainer()), tmp_path) == [{"step": 10, "loss": 1.0}]


def test_the_curve_is_csv_of_steps_and_the_columns_asked_for() -> None:
    history = [
        {"step": 1, "loss": 2.0, "rewards/chosen": 1 / 3, "grad_norm": 9.0},
        {"step": 10, "loss": 1e-9, "rewards/chosen": -1.0},
    ]
    assert loss_rows(history, ["loss", "rewards/chosen"]) == (
        "step,loss,rewards_chosen\n1,2.000000,0.333333\n10,0.000000,-1.000000\n"
    )


def test_a_row_fits_if_there_is_room_for_its_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "SELECT name FROM singer"
    length = len(tokenizer(text)["input_ids"])
    assert [fits(pl.Series([text]), tokenizer, limit)[0] for limit in (length, length + 1)] == [False, True]


def test_on_a_cpu_nothing_is_trained_in_half_precision(tmp_path: Path) -> None:
    settings = trainer_settings(
        tmp_path, seed=1, epochs=1, batch_size=1, learning_rate=1e-3, warmup=0, save_steps=10
    )
    assert (settings["use_cpu"], settings["bf16"], settings["gradient_checkpointing"]) == (True, False, False)


@pytest.mark.parametrize(
    ("batch_size", "epochs"),
    [(16, 4.0), (10, 3.0), (16, 2.5)],
    ids=["within an epoch", "between two epochs", "in an epoch that is cut short"],
)
def test_a_training_stopped_after_its_last_step_goes_on_to_the_same_bytes(
    batch_size: int, epochs: float, sft_rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = params_of(batch_size=batch_size, epochs=epochs)
    whole = train_sft.train_sft(sft_rows, params, work_folder(tmp_path / "whole", ""), tmp_path / "whole")
    work = work_folder(tmp_path / "resumed", "")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(train_sft, "save_model", interrupt)
        train_sft.train_sft(sft_rows, params, work, tmp_path / "resumed")
    steps = [int(folder.name.split("-")[1]) for folder in work.glob("checkpoint-*")]
    assert steps and max(steps) < cast(int, whole[0]["steps"])
    assert train_sft.train_sft(sft_rows, params, work, tmp_path / "resumed") == whole
    assert sha256_folder(tmp_path / "resumed") == sha256_folder(tmp_path / "whole")


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
