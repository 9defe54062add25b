"""What people do with a published version, as they write it, in a process that takes the test Hub for the Hub."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.core.tables import read_dataset
from stages.datasets.pairs import PAIRS
from stages.publishing.configs import columns_of
from tests.hub import TOKEN, Hub, environment, hub_of
from tests.publishing.workplace import DATASET, MODEL, VERSION, Workplace
from tests.test_readme import blocks
from tests.workplace import put

NEXT = "v0.2.0"
LOADS, TRAINS, READS = (block for block in blocks("python") if "OWNER/" in block)
"""What the README tells users to write."""


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> Iterator[Hub]:
    """A Hub with two versions, of which the second has a pair less; the model is a real one."""
    folder = tmp_path_factory.mktemp("publisher")
    with pytest.MonkeyPatch.context() as patch, hub_of(patch, folder) as hub:
        (folder / "work").mkdir()
        workplace = Workplace(folder / "work", patch)
        for path in (folder / "work" / "models" / "dpo").iterdir():
            path.unlink()
        model.save_pretrained(folder / "work" / "models" / "dpo")
        tokenizer.save_pretrained(folder / "work" / "models" / "dpo")
        workplace.push()
        put("pairs", read_dataset(PAIRS).head(3))
        workplace.push(NEXT)
        yield hub


@pytest.fixture(scope="module")
def loaded(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a user's script finds, of the README's words and some more."""
    home = tmp_path_factory.mktemp("home")
    shard = f"{hub.address}/datasets/{DATASET}/resolve/{VERSION}/pairs/train-00000-of-00001.parquet"
    script = f"""
import json
{LOADS}
loaded = {{"columns": pairs.column_names, "rows": pairs.num_rows, "chosen": pairs[0]["chosen"], "splits": sorted(gold)}}
loaded["wrong"] = sorted(wrong)
loaded["next rows"] = load_dataset("OWNER/sense-demo", "pairs", split="train", revision="{NEXT}").num_rows
{TRAINS}
loaded["loss"] = trainer.state.log_history[0]["loss"]
from transformers import AutoModelForCausalLM
loaded["parameters"] = AutoModelForCausalLM.from_pretrained("{MODEL}", revision="{VERSION}").num_parameters()
{READS}
loaded["polars"] = pairs.columns
print(json.dumps(loaded))
"""
    names = {
        "hf://datasets/OWNER/sense-demo@v0.1.0/pairs/train-*.parquet": shard, "OWNER/sense-demo": DATASET,
        "Qwen/Qwen2.5-Coder-0.5B": MODEL, "max_steps=2": "max_steps=2, logging_steps=1",
    }  # fmt: skip
    for name, here in names.items():
        assert name in script
        script = script.replace(name, here)
    hub.dataset(DATASET).private = False  # an address alone has no token with it
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(hub, home, TOKEN), cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values


def test_load_dataset_gives_each_version_by_its_tag(loaded: dict[str, Any]) -> None:
    assert (loaded["rows"], loaded["next rows"]) == (5, 3)  # less that of a source without a licence
    assert loaded["columns"] == columns_of("pairs") and loaded["chosen"] == "SELECT count(*) FROM singer"
    assert loaded["splits"] == ["dev", "test", "train"]


def test_a_config_is_streamed(loaded: dict[str, Any]) -> None:
    assert loaded["wrong"] == ["SELECT 1"] * 5  # one for each train question that is published


def test_the_model_comes_by_its_tag(loaded: dict[str, Any], model: LlamaForCausalLM) -> None:
    assert loaded["parameters"] == model.num_parameters()


def test_trl_trains_on_the_pairs_without_a_map(loaded: dict[str, Any]) -> None:
    assert loaded["loss"] == pytest.approx(0.6931, abs=1e-3)  # of the first step: ln 2


def test_polars_reads_a_shard_by_its_address(loaded: dict[str, Any]) -> None:
    assert loaded["polars"] == columns_of("pairs")  # its own `hf://` asks huggingface.co alone


def test_a_shard_of_a_private_repository_comes_by_the_client_of_the_hub(
    loaded: dict[str, Any], hub: Hub, tmp_path: Path
) -> None:
    [command] = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("hf download")]
    words = command.replace("OWNER/sense-demo", DATASET).split()
    words[0] = str(Path(sys.executable).with_name("hf"))
    hub.dataset(DATASET).private = True
    subprocess.run(words, env=environment(hub, tmp_path, TOKEN), cwd=tmp_path, check=True)
    assert pl.read_parquet(tmp_path / "sense" / "pairs" / "train-00000-of-00001.parquet").height == 5
