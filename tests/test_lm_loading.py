"""Loading models: from safetensors only, with no code of theirs run."""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.errors import UserError
from stages.lm.loading import load_model


@pytest.fixture
def folder(tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Path:
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def edit(file: Path, **changed: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def test_a_saved_model_comes_back_in_float32_with_its_tokenizer(
    folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    loaded, words = load_model(folder)
    assert loaded.dtype == torch.float32
    assert all(torch.equal(one, other) for one, other in zip(loaded.parameters(), model.parameters(), strict=True))
    assert words("SELECT name")["input_ids"] == tokenizer("SELECT name")["input_ids"]


def test_a_tokenizer_without_a_pad_token_pads_with_the_end_token(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", pad_token=None)
    _, words = load_model(folder)
    assert words.pad_token == words.eos_token == "<end>"


@pytest.mark.parametrize("source", ["nobody/nothing", "/absent/folder"])
def test_a_model_that_is_nowhere_is_named(source: str) -> None:
    with pytest.raises(UserError, match=f"the model `{source}` cannot be loaded"):
        load_model(source, "main")


def test_pickled_weights_are_refused(folder: Path, model: LlamaForCausalLM) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        load_model(folder)


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edit(folder / "config.json", model_type="own", auto_map={
        "AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model",
    })  # fmt: skip
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()
