"""Training on two processes over gloo gives what one gives: side by side, with FSDP, and with DeepSpeed ZeRO-3.

The configs are the committed ones; only the number of processes is another.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.core.files import sha256_folder
from tests import ROOT
from tests.test_resume import COMMANDS, write_training_inputs
from tests.test_train_sft import PARAMS as SFT_PARAMS
from tests.test_train_sft import put_in_hub_cache
from tests.training.test_objectives import BLOCKS
from tests.training.test_objectives import PARAMS as DPO_PARAMS
from tests.training.test_trainer import LORA
from tests.workplace import write_params

pytestmark = pytest.mark.slow
COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed compiles its part for CPUs with g++")
Trained = Callable[[str, str | None], Path]
KINDS = ["side by side", "fsdp", pytest.param("zero3", marks=COMPILER)]
BASE = {"base": "tests/base", "revision": "v1", "scratch": None, "epochs": 5.0, "micro_batch": 4}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("train_sft", {"weak": SFT_PARAMS | BASE}),
    "sft, adapters in bfloat16": ("train_sft", {"weak": SFT_PARAMS | BASE | {"lora": LORA, "precision": "bfloat16"}}),
    "sft, packed": ("train_sft", {"weak": SFT_PARAMS | BASE | {"packing": True, "batch_size": 4, "micro_batch": 1}}),
    "dpo": ("train_dpo", DPO_PARAMS | {"micro_batch": 2, "epochs": 5.0}),
    "kto": ("train_dpo", DPO_PARAMS | {"objective": "kto", "micro_batch": 2, "epochs": 2.0}),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What DeepSpeed compiles is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="module")
def inputs(
    tmp_path_factory: pytest.TempPathFactory, sft_rows: pl.DataFrame, model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    with chdir(folder):
        write_training_inputs(sft_rows, model, tokenizer)
    return folder


@pytest.fixture(scope="module")
def trained(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The working directory of a case after its training, by one process or by two of a kind. Each is trained once."""

    @cache
    def train(case: str, kind: str | None) -> Path:
        folder = prepared(tmp_path_factory.mktemp("trained") / "work", inputs, *CASES[case])
        assert start(CASES[case][0], folder, kind).wait() == 0, output(folder)
        return folder

    return train


def prepared(folder: Path, inputs: Path, stage: str, params: dict[str, Any]) -> Path:
    """A working directory for the stage."""
    shutil.copytree(inputs, folder)
    put_in_hub_cache(folder / "models" / "sft" / "strong", folder / "hub")
    with chdir(folder):
        write_params(**{stage: params}, objectives=BLOCKS)
    return folder


def config(kind: str) -> dict[str, Any]:
    """The committed config of `accelerate launch`, for two processes; `side by side`, that of FSDP without FSDP."""
    file = ROOT / "models" / "accelerate" / ("zero3.yaml" if kind == "zero3" else "fsdp.yaml")
    values = dict(YAML(typ="safe", pure=True).load(file.read_text()))
    if kind == "side by side":
        values = {name: value for name, value in values.items() if name != "fsdp_config"} | {
            "distributed_type": "MULTI_GPU"
        }
    with socket.create_server(("127.0.0.1", 0)) as free:
        return values | {"num_processes": 2, "main_process_port": free.getsockname()[1]}


def start(stage: str, folder: Path, kind: str | None = None) -> "subprocess.Popen[bytes]":
    """The stage, in a process of its own or in two of this kind."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_CACHE": "hub"}
    if kind is not None:
        (folder / "accelerate.yaml").write_text(json.dumps(config(kind)))
        environment["SENSE_ACCELERATE"] = "accelerate.yaml"
    if kind in ("fsdp", "zero3"):
        environment |= {"ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu"}
        environment["PYTHONPATH"] += f"{os.pathsep}{ROOT / 'tests' / 'cpu_shards'}"
    with (folder / "output").open("ab") as file:
        command = [sys.executable, "-m", f"stages.{stage}", *COMMANDS[stage]]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)


def output(folder: Path) -> str:
    return (folder / "output").read_text()


def curves(folder: Path) -> dict[str, list[float]]:
    """Every logged metric's steps."""
    [plots] = (folder / "reports").rglob("plots/metrics")
    tables = {str(file.relative_to(plots)): pl.read_csv(file, separator="\t") for file in plots.rglob("*.tsv")}
    return {name: table[table.columns[-1]].to_list() for name, table in tables.items()}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model = next(model for model in ("sft/weak", "dpo") if (folder / "models" / model).exists())
    return load_file(folder / "models" / model / "model.safetensors")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_loss_curve_and_the_weights_of_one(case: str, kind: str, trained: Trained) -> None:
    folder, alone = trained(case, kind), trained(case, None)
    loss, expected = curves(folder)["loss.tsv"], curves(alone)["loss.tsv"]
    assert len(expected) >= 4 and loss == pytest.approx(expected, rel=1e-2 if "bfloat16" in case else 1e-4)
    tolerance = 2e-2 if "bfloat16" in case else 1e-4
    torch.testing.assert_close(weights(folder), weights(alone), rtol=0, atol=tolerance)
    assert not list(folder.rglob("*.partial"))


@pytest.mark.parametrize("kind", KINDS)
def test_two_killed_processes_go_on_from_their_last_checkpoint_to_the_same_bytes(
    kind: str, inputs: Path, trained: Trained, tmp_path: Path
) -> None:
    stage, params = CASES["sft"]
    whole, killed = trained("sft", kind), prepared(tmp_path / "killed", inputs, stage, params)
    process = start(stage, killed, kind)
    while not list(killed.glob("models/sft/weak.partial/checkpoint-10/whole")):
        assert process.poll() is None, output(killed)
        time.sleep(0.002)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.wait()
    assert not (killed / "models" / "sft" / "weak").exists()
    assert start(stage, killed, kind).wait() == 0, output(killed)
    assert [sha256_folder(killed / name) for name in ("models", "reports")] == [
        sha256_folder(whole / name) for name in ("models", "reports")
    ]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"max_length": 10}, "error: no row of the SFT set has at most 10 tokens; raise `max_length`"),
        ({"batch_size": 20, "micro_batch": 4}, "error: `batch_size` is 20, which is not a multiple of 8 (processes: 2"),
    ],
)
def test_all_processes_leave_with_status_2_and_a_sentence(
    changed: dict[str, Any], sentence: str, inputs: Path, tmp_path: Path
) -> None:
    folder = prepared(tmp_path / "two", inputs, "train_sft", {"weak": SFT_PARAMS | BASE | changed})
    assert start("train_sft", folder, "side by side").wait() == 2
    assert output(folder).count(sentence) == 2
    assert "Traceback" not in output(folder)
    assert not (folder / "models" / "sft" / "weak").exists() and not (folder / "reports" / "train_sft").exists()
