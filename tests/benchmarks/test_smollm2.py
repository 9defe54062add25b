"""The conversion of a quantised model: its weights are copied whole, and the Hub's client finds the result."""

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from transformers import PreTrainedTokenizerFast

from stages.lm.loading import load_model
from stages.training.scratch_model import new_model
from tests.benchmarks.smollm2 import NAME, plain_copy, put_in_hub_cache


def test_the_copy_is_saved_and_loaded_from_the_cache_with_its_weights_and_without_the_quantisation(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = new_model(tokenizer, hidden_size=32, layers=2, heads=2, seed=1)
    config: Any = model.config
    config.quantization_config = {"quant_method": "gguf", "gguf_file": "model.gguf", "dequantize": False}
    copy = plain_copy(model)
    copy.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    revision = put_in_hub_cache(tmp_path / "model", tmp_path / "hub", NAME)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    loaded, _ = load_model(NAME, revision)
    assert len(revision) == 40 and not hasattr(loaded.config, "quantization_config")
    expected, loaded_weights = model.state_dict(), loaded.state_dict()
    assert expected.keys() == loaded_weights.keys()
    assert all(torch.equal(loaded_weights[name], weights.to(torch.bfloat16)) for name, weights in expected.items())


def test_a_model_that_lacks_a_weight_is_refused(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = new_model(tokenizer, hidden_size=32, layers=1, heads=2, seed=1)
    state = {name: weights for name, weights in model.state_dict().items() if "q_proj" not in name}
    monkeypatch.setattr(model, "state_dict", lambda: state)
    with pytest.raises(RuntimeError, match="q_proj"):
        plain_copy(model)
