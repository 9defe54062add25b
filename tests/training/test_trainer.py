"""What both trainings share: settings, resuming, precision, adapters, which rows fit."""

from contextlib import chdir
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from stages import train_sft
from stages.core.errors import UserError
from stages.core.files import read_json, sha256_folder
from stages.lm.loading import load_model
from stages.training import checkpoints
from stages.training.checkpoints import ROOMS, last_checkpoint, work_key
from stages.training.trainer import fits_max_length, load_for_training, trainer_settings
from tests.test_pipeline import imports
from tests.test_train_sft import params_of

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0}


MODEL, LOG = Path("models/sft/weak"), Path("reports/train_sft/weak")


def trained(rows: pl.DataFrame, folder: Path, **changed: Any) -> list[float]:
    """Trains the weak model with `folder` as the working directory. Returns the logged losses."""
    folder.mkdir(exist_ok=True)
    with chdir(folder):
        train_sft.train_sft(rows, params_of(**changed), MODEL, LOG)
    return pl.read_csv(folder / LOG / "plots" / "metrics" / "loss.tsv", separator="\t")["loss"].to_list()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / MODEL / "model.safetensors")


def checkpoint(work: Path, step: int, whole: bool) -> Path:
    folder = work / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    if whole:
        (folder / "whole").write_text("")
    return folder


def test_an_incomplete_checkpoint_is_never_resumed_from(tmp_path: Path) -> None:
    for step in (90, 100):
        checkpoint(tmp_path, step, whole=True)
    cut_short = checkpoint(tmp_path, 110, whole=False)
    assert last_checkpoint(tmp_path, main=True) == str(tmp_path / "checkpoint-100")
    assert not cut_short.exists()


def test_without_a_whole_checkpoint_training_starts_anew(tmp_path: Path) -> None:
    checkpoint(tmp_path, 10, whole=False)
    assert last_checkpoint(tmp_path, main=True) is None


def test_only_the_main_process_deletes_a_checkpoint_cut_short(tmp_path: Path) -> None:
    cut_short = checkpoint(tmp_path, 10, whole=False)
    assert last_checkpoint(tmp_path, main=False) is None
    assert cut_short.exists()


def test_every_module_of_both_trainings_is_in_the_key_of_their_work() -> None:
    run = imports(Path("stages/train_sft.py")) | imports(Path("stages/train_dpo.py"))
    rooms = {path.parts[1] for path in run if len(path.parts) > 2}
    assert rooms - {"core", "datasets"} == set(ROOMS)  # those two read and write files


@pytest.mark.parametrize("changed", ["code", "torch", "trl", "processes", "launcher", "threads", "params"])
def test_work_is_resumed_only_if_everything_that_the_weights_depend_on_is_unchanged(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = tmp_path / "stage.py"
    stage.write_text("loss = 1")
    before = work_key(stage, {"seed": 1})
    assert work_key(stage, {"seed": 1}) == before
    if changed == "code":
        stage.write_text("loss = 2")
    monkeypatch.setattr(checkpoints, "version", lambda name: "0" if name == changed else version(name))
    if changed in ("processes", "launcher"):
        monkeypatch.setenv("WORLD_SIZE" if changed == "processes" else "ACCELERATE_USE_FSDP", "2")
    if changed == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert work_key(stage, {"seed": 2 if changed == "params" else 1}) != before


def test_a_row_fits_if_there_is_room_for_its_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "SELECT name FROM singer"
    length = len(tokenizer(text)["input_ids"])
    assert [fits_max_length(pl.Series([text]), tokenizer, limit)[0] for limit in (length, length + 1)] == [False, True]


def test_on_a_cpu_no_gpu_is_looked_for_and_the_params_alone_decide_the_precision(tmp_path: Path) -> None:
    settings = trainer_settings(params_of(), tmp_path)
    assert (settings["use_cpu"], settings["bf16"], settings["gradient_checkpointing"]) == (True, False, False)


@pytest.mark.parametrize(
    ("processes", "micro_batch", "shares"),
    [("1", None, (16, 1)), ("1", 4, (4, 4)), ("2", None, (8, 1)), ("2", 4, (4, 2)), ("8", 2, (2, 1))],
)
def test_a_step_is_shared_among_processes_and_micro_batches(
    processes: str, micro_batch: int | None, shares: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", processes)
    settings = trainer_settings(params_of(micro_batch=micro_batch), tmp_path)
    assert (settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"]) == shares


@pytest.mark.parametrize(("processes", "micro_batch"), [("3", None), ("2", 16), ("32", None)])
def test_a_step_that_cannot_be_shared_evenly_is_refused(
    processes: str, micro_batch: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", processes)
    with pytest.raises(UserError, match=r"`batch_size` is 16, which is not a multiple of \d+ .processes: "):
        trainer_settings(params_of(micro_batch=micro_batch), tmp_path)


@pytest.mark.parametrize("changed", [
    {"micro_batch": 4}, {"micro_batch": 4, "loss_on": "completion"}, {"gradient_checkpointing": True},
], ids=str)  # fmt: skip
def test_what_only_saves_memory_changes_rounding_alone(
    changed: dict[str, Any], sft_rows: pl.DataFrame, tmp_path: Path
) -> None:
    loss_on = changed.get("loss_on", "all")
    assert trained(sft_rows, tmp_path / "whole", loss_on=loss_on) == pytest.approx(
        trained(sft_rows, tmp_path / "saving", **changed), rel=1e-4
    )
    torch.testing.assert_close(weights(tmp_path / "saving"), weights(tmp_path / "whole"), rtol=0, atol=1e-4)


def test_bfloat16_trains_float32_weights_and_saves_bfloat16(sft_rows: pl.DataFrame, tmp_path: Path) -> None:
    in_float32 = trained(sft_rows, tmp_path / "float32")
    in_bfloat16 = trained(sft_rows, tmp_path / "bfloat16", precision="bfloat16")
    assert in_bfloat16 == pytest.approx(in_float32, rel=1e-2) and in_bfloat16 != in_float32
    saved = weights(tmp_path / "bfloat16")
    assert {values.dtype for values in saved.values()} == {torch.bfloat16}
    assert read_json(tmp_path / "bfloat16" / MODEL / "config.json")["dtype"] == "bfloat16"
    base, _ = load_for_training(tmp_path / "bfloat16" / MODEL, None, params_of(precision="bfloat16"))
    assert {values.dtype for values in base.parameters()} == {torch.float32}


def test_the_base_of_adapters_is_in_the_precision_and_they_are_in_float32(
    sft_rows: pl.DataFrame, tmp_path: Path
) -> None:
    trained(sft_rows, tmp_path)
    params = params_of(lora=LORA, precision="bfloat16")
    model, _ = load_for_training(tmp_path / MODEL, None, params)
    dtypes = {trains: {v.dtype for v in model.parameters() if v.requires_grad is trains} for trains in (False, True)}
    assert dtypes == {False: {torch.bfloat16}, True: {torch.float32}}


def test_the_saved_weights_are_those_of_the_base_and_its_adapters(sft_rows: pl.DataFrame, tmp_path: Path) -> None:
    trained(sft_rows, tmp_path / "base")
    base = {"base": str(tmp_path / "base" / MODEL), "revision": "main", "scratch": None}
    first, *_, last = trained(sft_rows, tmp_path / "lora", **base, lora=LORA)
    assert last < first
    before, after = weights(tmp_path / "base"), weights(tmp_path / "lora")
    adapters = load_file(tmp_path / "lora" / MODEL / "adapter" / "adapter_model.safetensors")
    assert before.keys() == after.keys() and len(adapters) == 2 * 7  # the linear layers of its one block
    for name, values in before.items():
        low = [adapters.get(f"base_model.model.{name.replace('weight', f'lora_{side}.weight')}") for side in "BA"]
        change = 2.0 * cast(torch.Tensor, low[0]) @ low[1] if low[1] is not None else torch.zeros(())  # 8 / 4
        torch.testing.assert_close(after[name], values + change)


def test_a_model_trained_with_adapters_loads_as_any_other(sft_rows: pl.DataFrame, tmp_path: Path) -> None:
    trained(sft_rows, tmp_path, lora=LORA)
    model, tokenizer = load_model(tmp_path / MODEL)
    assert not hasattr(model, "peft_config")
    assert {path.name for path in (tmp_path / MODEL / "adapter").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    modules = read_json(tmp_path / MODEL / "adapter" / "adapter_config.json")["target_modules"]
    assert modules == sorted(modules)
    ids = tokenizer(sft_rows["prompt"][0], return_tensors="pt")["input_ids"]
    assert torch.isfinite(model(ids).logits).all()


@pytest.mark.parametrize("changed", [
    {"epochs": 4.0},  # the last checkpoint is within an epoch
    {"batch_size": 10, "epochs": 3.0},  # … between two epochs
    {"epochs": 2.5},  # … in an epoch that is cut short
    {"micro_batch": 4},
    {"lora": LORA | {"dropout": 0.1}},
    {"packing": True, "batch_size": 4},
    {"precision": "bfloat16", "gradient_checkpointing": True},
], ids=str)  # fmt: skip
def test_a_training_stopped_after_its_last_step_goes_on_to_the_same_bytes(
    changed: dict[str, Any], sft_rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(sft_rows, tmp_path / "whole", **changed)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(train_sft, "save_model", interrupt)
        trained(sft_rows, tmp_path / "resumed", **changed)
    work = tmp_path / "resumed" / "models" / "sft" / "weak.partial"
    steps = [int(folder.name.split("-")[1]) for folder in work.glob("checkpoint-*")]
    assert steps and all(step % 10 == 0 for step in steps)
    trained(sft_rows, tmp_path / "resumed", **changed)
    assert sha256_folder(tmp_path / "resumed") == sha256_folder(tmp_path / "whole")


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
