"""What is said of a training before it starts and after its first steps."""

import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch
from transformers import TrainerControl, TrainerState

from stages import train_sft
from stages.training import run_estimate
from stages.training.batch_order import epoch_order, tokens_of_steps
from stages.training.run_estimate import device_bytes, duration, peak_bytes, show_rows_left_out, state_bytes
from tests.test_train_sft import PARAMS, longer
from tests.workplace import put, set_arguments, write_params

LENGTHS = [20 + number * number % 281 for number in range(100)]


@pytest.fixture
def folder(tmp_path: Path, sft_rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the SFT set and the params of 12 steps, with a checkpoint after 10."""
    monkeypatch.chdir(tmp_path)
    set_arguments(monkeypatch, "train_sft", "--role=weak")
    put("sft", sft_rows)
    write_params(train_sft={"weak": PARAMS})
    return tmp_path


class Clock:
    """A clock that goes on by a hundredth of a second a token of each step, and by 50 seconds in the first step."""

    def __init__(self, first: int) -> None:
        self.first, self.step = first, first

    def perf_counter(self) -> float:
        return 50 + tokens_of_steps(LENGTHS, 8, 1, range(self.first + 1, self.step)) / 100


def time_line(first: int, steps: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What is shown of the time of a training that starts at step `first` and ends at `steps`, 8 rows a step."""
    clock = Clock(first)
    monkeypatch.setattr(run_estimate, "time", clock)
    args: Any = SimpleNamespace(
        per_device_train_batch_size=2, gradient_accumulation_steps=4, world_size=1, seed=1
    )
    state = TrainerState(global_step=first, max_steps=steps, is_world_process_zero=True)
    callback: Any = run_estimate.time_callback(LENGTHS, 1, "training weak")
    callback.on_train_begin(args, state, TrainerControl())
    for clock.step in range(first + 1, steps + 1):
        state.global_step = clock.step
        callback.on_step_end(args, state, TrainerControl())
    return capsys.readouterr().err


def test_the_time_is_that_of_mean_steps_whatever_lengths_the_first_ones_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = sum(LENGTHS) / 100 * 8 / 100
    shown = time_line(0, 100, monkeypatch, capsys)
    assert shown.startswith(f"training weak: about {mean:.2g} s a step, {duration(100 * mean)} for 100 steps; peak mem")
    assert shown.count("\n") == 1


def test_the_time_of_a_resumed_training_is_that_of_the_steps_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = sum(LENGTHS) / 100 * 8 / 100
    assert f", {duration(60 * mean)} for 60 steps; " in time_line(40, 100, monkeypatch, capsys)


def test_nothing_is_said_of_the_time_of_a_short_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = sum(LENGTHS) / 100 * 8 / 100
    monkeypatch.setattr(run_estimate, "LEAST_SECONDS", 20.5 * mean)
    assert time_line(0, 20, monkeypatch, capsys) == ""
    assert time_line(0, 21, monkeypatch, capsys) != ""


def test_the_tokens_of_steps_are_those_of_their_rows_in_each_epoch() -> None:
    orders = [row for epoch in range(3) for row in epoch_order(LENGTHS, 8, 1, epoch)]
    for steps in (range(0, 1), range(11, 16), range(30, 39)):
        expected = sum(LENGTHS[row] for row in orders[8 * steps.start : 8 * steps.stop])
        assert tokens_of_steps(LENGTHS, 8, 1, steps) == expected


def test_size_and_memory_stand_before_the_first_step(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_sft.main()
    shown = capsys.readouterr().err
    assert shown.startswith("training weak: 96 rows of ")
    assert "; 12 steps of 16 rows; " in shown and " GB of memory for weights, gradients and Adam's moments" in shown
    assert "want of memory" not in shown


def test_a_model_that_does_not_fit_the_memory_is_warned_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_estimate, "device_bytes", lambda model: 1000)
    train_sft.main()
    assert "training weak: this will probably end for want of memory; set `lora`" in capsys.readouterr().err


@pytest.mark.parametrize("emulated", [True, False])
def test_bfloat16_on_a_processor_without_it_is_warned_of(
    emulated: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_estimate, "emulates_bfloat16", lambda device: emulated)
    train_sft.main()
    assert "bfloat16" not in capsys.readouterr().err
    write_params(train_sft={"weak": PARAMS | {"precision": "bfloat16"}})
    train_sft.main()
    message = "training weak: this processor has no instructions for bfloat16, so a step takes about three times"
    assert (message in capsys.readouterr().err) is emulated


def test_no_processor_but_one_of_x86_is_taken_to_emulate_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert not run_estimate.emulates_bfloat16("cpu") and not run_estimate.emulates_bfloat16("cuda")


def test_frozen_weights_need_no_gradient_and_no_moments() -> None:
    model = torch.nn.Linear(10, 4, bias=True)
    model.weight.requires_grad_(False)
    assert state_bytes(model) == 40 * 4 + 4 * 4 * 4


def test_the_memory_of_a_machine_is_more_than_this_process_has_used() -> None:
    assert 10**7 < peak_bytes() < device_bytes(SimpleNamespace(device=torch.device("cpu")))


@pytest.mark.parametrize(
    ("seconds", "text"), [(45.4, "45 s"), (61, "1 min"), (719, "12 min"), (3720, "1 h 02 min"), (90_000, "25 h 00 min")]
)
def test_seconds_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("fitting", "is_shown"), [(90, False), (89, True)])
def test_many_rows_that_are_too_long_are_told(fitting: int, is_shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    show_rows_left_out(100, fitting, 384, "train_dpo")
    shown = "train_dpo: 11 of 100 rows have more than 384 tokens, and are left out; raise `max_length`, or show less"
    assert capsys.readouterr().err.startswith(shown) is is_shown


def test_a_training_tells_of_many_rows_that_are_too_long(
    folder: Path, sft_rows: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    put("sft", longer(sft_rows, 20))
    train_sft.main()
    assert "train_sft: 20 of 96 rows have more than 128 tokens, and are left out" in capsys.readouterr().err
