"""Loading models: from safetensors only, whole, with no code of theirs run; and each mistake as a sentence."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.core.errors import UserError
from stages.lm.loading import context_length, load_model, model_folder
from tests.hub import Files, Hub, Repository, hub_of

NAME = "someone/tiny"


@pytest.fixture
def folder(tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Path:
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def edit(file: Path, **changed: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def sentence(source: str | Path, revision: str | None = None) -> str:
    """The one that loading ends with."""
    with pytest.raises(UserError) as caught:
        load_model(source, revision)
    (message,) = caught.value.sentences
    assert "\n" not in message
    return message


# ---- folders ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_model_comes_back_as_it_was_saved_with_its_tokenizer(
    folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype
) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    edit(folder / "config.json", dtype=str(dtype).removeprefix("torch."))
    loaded, words = load_model(folder)
    assert loaded.dtype == dtype
    assert all(
        torch.equal(actual, expected.to(dtype))
        for actual, expected in zip(loaded.parameters(), model.parameters(), strict=True)
    )
    assert words("SELECT name")["input_ids"] == tokenizer("SELECT name")["input_ids"]


def test_a_model_comes_in_the_dtype_that_is_asked_for(folder: Path) -> None:
    assert load_model(folder, dtype=torch.bfloat16)[0].dtype == torch.bfloat16


def test_the_context_of_a_model_is_what_its_config_tells(folder: Path) -> None:
    edit(folder / "config.json", max_position_embeddings=77)
    assert context_length(load_model(folder)[0]) == 77


@pytest.mark.parametrize("pad", [None, "[PAD]"])
def test_a_tokenizer_without_a_pad_token_that_the_model_knows_pads_with_the_end_token(
    folder: Path, pad: str | None
) -> None:
    edit(folder / "tokenizer_config.json", pad_token=pad)
    _, words = load_model(folder)
    assert words.pad_token == words.eos_token == "<end>"


@pytest.mark.parametrize("end", [None, "[NEVER TRAINED]"])
def test_a_tokenizer_without_an_end_token_that_the_model_knows_is_refused(folder: Path, end: str | None) -> None:
    edit(folder / "tokenizer_config.json", eos_token=end)
    assert sentence(folder).startswith(f"the tokenizer of `{folder}` has no end token that the model knows")


@pytest.mark.parametrize("source", ["/absent/folder", "models/sft/absent"])
def test_a_folder_that_is_not_there_is_named(source: str) -> None:
    assert sentence(source).startswith(f"`{source}` is no folder, and no Hub id (owner/name)")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    assert sentence(tmp_path).startswith(f"`{tmp_path}` is no model: there is no config.json")


def test_pickled_weights_are_refused(folder: Path, model: LlamaForCausalLM) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert "has no weights in safetensors, and pickled ones can run code" in sentence(folder)


def test_beside_pickled_weights_the_safetensors_are_read(folder: Path, model: LlamaForCausalLM) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")
    loaded, _ = load_model(folder)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path, file: str) -> None:
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    classes = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model", "AutoTokenizer": [None, "code.Own"]}
    edit(folder / file, auto_map=classes, model_type="own", tokenizer_class="Own")
    if file == "tokenizer_config.json":
        (folder / "tokenizer.json").unlink()  # or it would do without the class
    message = sentence(folder)
    assert "brings code of its own, which is never run" in message and "trust_remote_code" not in message
    assert not (tmp_path / "ran").exists()


def test_adapters_without_their_model_are_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    assert "holds LoRA adapters, not a whole model; merge them" in sentence(folder)


def test_weights_that_are_cut_are_reported(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert sentence(folder).startswith(f"the model `{folder}` cannot be loaded (")


def test_weights_that_are_missing_are_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert f"the weights of the model `{folder}` are not whole: model.norm.weight … are missing" in sentence(folder)


def test_weights_of_another_shape_are_reported(folder: Path) -> None:
    edit(folder / "config.json", intermediate_size=13)
    assert sentence(folder).startswith(f"the model `{folder}` cannot be loaded (")


def test_a_config_that_is_not_json_is_reported(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert sentence(folder).startswith(f"config.json of the model `{folder}` is not JSON")


def test_a_config_that_contradicts_itself_is_reported(folder: Path) -> None:
    edit(folder / "config.json", hidden_size=30, num_attention_heads=4)
    assert sentence(folder).startswith(f"the model `{folder}` cannot be loaded (")


def test_a_model_that_does_not_write_text_is_reported(folder: Path) -> None:
    edit(folder / "config.json", model_type="vit")
    assert sentence(folder).startswith(f"the model `{folder}` cannot be loaded (")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tokenizer.json", "{}"), ("tokenizer.json", "[]"), ("tokenizer_config.json", "[]"), ("config.json", "null"),
        ("generation_config.json", "[]"), ("special_tokens_map.json", "[]"),
    ],
)  # fmt: skip
def test_a_file_that_holds_something_else_is_reported(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text)
    assert sentence(folder).startswith(f"the model `{folder}` cannot be loaded (")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_attention_heads", 0, "ZeroDivisionError: "),
        ("hidden_act", "of_tomorrow", "KeyError: 'of_tomorrow'"),
        ("rope_parameters", {"rope_type": "of_tomorrow", "rope_theta": 1e4}, "KeyError: 'of_tomorrow'"),
        ("dtype", "of_tomorrow", "AttributeError: "),
        ("pad_token_id", 999, "AssertionError: "),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}, "ImportError: "),
    ],
)
def test_a_config_that_transformers_does_not_know_how_to_read_is_reported(
    folder: Path, name: str, value: object, message: str
) -> None:
    edit(folder / "config.json", **{name: value})
    assert sentence(folder).startswith(f"the model `{folder}` cannot be loaded ({message}")


def test_a_tokenizer_of_a_newer_release_is_reported(folder: Path) -> None:
    edit(folder / "tokenizer.json", model={"type": "OfTomorrow"})
    assert sentence(folder).startswith(f"the model `{folder}` cannot be loaded (ValueError: tokenizer.json: ")


def test_a_tokenizer_with_a_word_that_has_no_embedding_is_refused(folder: Path) -> None:
    words = PreTrainedTokenizerFast.from_pretrained(folder)
    words.add_tokens(["mine"])
    words.save_pretrained(folder)
    assert f"the model `{folder}` cannot be loaded (its tokenizer knows `mine`, its" in sentence(folder)


def test_a_special_token_may_have_no_embedding(folder: Path) -> None:
    words = PreTrainedTokenizerFast.from_pretrained(folder)
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    words.save_pretrained(folder)
    model, words = load_model(folder)
    assert len(words) > model.config.vocab_size


# ---- the Hub ----


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_of(monkeypatch, tmp_path) as hub:
        yield hub


def files_of(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def tiny(hub: Hub, folder: Path) -> Repository:
    """A model on the test Hub, with pickled weights and code that nobody asked for."""
    repository = hub.model(NAME)
    repository.commit(
        {**files_of(folder), "pytorch_model.bin": b"pickle", "code.py": b"code", "onnx/config.json": b"{}"}
    )
    return repository


def hub_message(source: str, revision: str | None = None) -> str:
    message = sentence(source, revision)
    assert "hf_secret" not in message
    return message


def test_a_model_of_the_hub_is_its_safetensors_and_its_json(
    hub: Hub, tiny: Repository, model: LlamaForCausalLM
) -> None:
    cached = model_folder(NAME)
    assert cached.name == tiny.branches["main"]
    assert {path.name for path in cached.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not [path for _, path in hub.asked if path.endswith((".bin", ".py", "onnx/config.json"))]
    loaded, _ = load_model(NAME)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize("revision", ["refs/pr/3", "v1"])
def test_a_model_of_the_hub_comes_at_its_revision(tiny: Repository, folder: Path, revision: str) -> None:
    edit(folder / "config.json", max_position_embeddings=55)
    sha = tiny.commit(files_of(folder), revision)
    for name in (revision, sha):
        assert context_length(load_model(NAME, name)[0]) == 55
        assert model_folder(NAME, name).name == sha


def test_a_model_that_the_hub_does_not_have_is_named(hub: Hub) -> None:
    message = hub_message("nobody/nothing")
    assert message.startswith("`nobody/nothing` is no folder, and no model on the Hub") and "HF_TOKEN" in message


@pytest.mark.parametrize("status", [401, 403])
def test_the_message_of_a_gated_model_says_how_to_get_it(tiny: Repository, status: int) -> None:
    tiny.gated = status
    message = hub_message(NAME)
    assert message.startswith(f"the model `{NAME}` is gated; accept its licence on its page on the Hub, then log in")


@pytest.mark.parametrize("revision", ["0" * 40, "v9"])
def test_a_revision_that_is_not_there_is_named(tiny: Repository, revision: str) -> None:
    assert hub_message(NAME, revision).startswith(f"the model `{NAME}` has no revision `{revision}`")


def test_pickled_weights_on_the_hub_are_refused_and_not_downloaded(hub: Hub, tiny: Repository) -> None:
    files = tiny.files()
    tiny.commit({name: data for name, data in files.items() if not name.endswith(".safetensors")})
    assert "has no weights in safetensors" in hub_message(NAME)
    assert not [path for _, path in hub.asked if path.endswith(".bin")]


def test_offline_a_model_comes_from_the_cache(tiny: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = model_folder(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert model_folder(NAME) == cached == model_folder(NAME, tiny.branches["main"])
    shutil.rmtree(constants.HF_HUB_CACHE)
    message = hub_message(NAME)
    assert message.startswith(f"`{NAME}` is no folder, and no model that the Hub's cache")
    assert "HF_HUB_OFFLINE is set" in message


def test_without_a_network_a_model_that_is_not_in_the_cache_is_reported(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the Hub cannot be reached; connect, or give the folder of a model" in hub_message(NAME)
