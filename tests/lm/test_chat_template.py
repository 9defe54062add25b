"""Models with a chat template: what is trained is what is sampled, and both are what the template says."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages import train_dpo, train_sft
from stages.core.errors import UserError
from stages.core.layout import model_path, training_log
from stages.lm.chat_template import render_prompts
from stages.lm.completions import Decoding, PromptedQuestion
from stages.lm.loading import load_model
from stages.sampling.transformers_engine import TransformersEngine
from stages.train_dpo import OBJECTIVES, TrainDpoParams
from stages.training.scratch_model import new_model
from tests.test_train_sft import params_of
from tests.training.test_objectives import BLOCKS
from tests.training.test_objectives import PARAMS as DPO_PARAMS

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def chat_tokenizer(texts: list[str], adds_start: bool = True, template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a chat template, which puts `<s>` before every text if it `adds_start`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>"]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))  # fmt: skip
    if adds_start:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=512,
        additional_special_tokens=special[2:],
    )  # fmt: skip
    wrapped.chat_template = template
    return wrapped


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sft_rows: pl.DataFrame) -> Path:
    """The folder of a tiny model with a chat template."""
    path = tmp_path_factory.mktemp("chat")
    tokenizer = chat_tokenizer([*sft_rows["prompt"], *sft_rows["completion"]])
    new_model(tokenizer, hidden_size=32, layers=1, heads=2, seed=7).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tokens_of_chat(tokenizer: Any, prompt: str) -> list[int]:
    """The tokens of transformers' own chat, ready to be answered."""
    chat = [{"role": "user", "content": prompt}]
    return list(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"])


def test_without_a_template_a_model_reads_the_prompt_itself(tokenizer: PreTrainedTokenizerFast) -> None:
    assert render_prompts(tokenizer, ["a?\nsql:\n", "<s> b"]) == ["a?\nsql:\n", "<s> b"]


@pytest.mark.parametrize("adds_start", [True, False])
def test_the_tokens_are_those_of_the_template_with_one_start_token(adds_start: bool) -> None:
    tokenizer = chat_tokenizer(["singer(name)"], adds_start)
    (text,) = render_prompts(tokenizer, ["singer(name)\nquestion: Who?\nsql:\n"])
    tokens = tokenizer(text)["input_ids"]
    assert tokens == tokens_of_chat(tokenizer, "singer(name)\nquestion: Who?\nsql:\n")
    assert tokens.count(tokenizer.bos_token_id) == 1


def test_a_template_that_writes_the_date_writes_the_same_on_every_day() -> None:
    template = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}"
    assert render_prompts(chat_tokenizer(["a"], template=template), ["Who?"]) == ["26 Jul 2024 Who?"]


def test_a_template_that_refuses_the_chat_is_reported_in_a_sentence() -> None:
    tokenizer = chat_tokenizer(["a"], template="{{ raise_exception('give a system message') }}")
    with pytest.raises(UserError, match=r"does not take one user message \(give a system message\)"):
        render_prompts(tokenizer, ["Who?"])


def captured(monkeypatch: pytest.MonkeyPatch, stage: Any) -> list[Any]:
    """The rows that the stage would train on, once it is stopped before it does."""
    rows: list[Any] = []

    def take(trainer: Any, *_: object) -> None:
        rows.extend(trainer.train_dataset)
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "train", take)
    return rows


def tokens_sampled_from(folder: Path, prompts: list[str]) -> list[list[int]]:
    """The tokens that the model in `folder` reads of each prompt when it is sampled."""
    engine = TransformersEngine(folder, batch_size=1)
    read: list[int] = []

    def take(_: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        read.extend(kwargs["input_ids"][0].tolist())

    engine.model.register_forward_pre_hook(take, with_kwargs=True)
    tokens = []
    for prompt in prompts:
        engine.sample([PromptedQuestion("a", "a", prompt)], Decoding(1, 0.0, 1.0, max_tokens=1, seed=1), 0, 1)
        tokens.append(read[:])
        read.clear()
    return tokens


def test_the_trained_tokens_are_the_sampled_prompts_and_the_completion_and_only_that_is_learned(
    folder: Path, sft_rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = captured(monkeypatch, train_sft)
    params = params_of(base=str(folder), revision="v1", scratch=None, max_length=512, loss_on="completion")
    with pytest.raises(KeyboardInterrupt):
        train_sft.train_sft(sft_rows, params, model_path("sft/strong"), training_log("train_sft/strong"))
    _, tokenizer = load_model(folder)
    prompts = tokens_sampled_from(folder, sft_rows["prompt"][:3].to_list())
    for row, prompt, completion in zip(rows, prompts, sft_rows["completion"], strict=False):
        answer = [*tokenizer(completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        assert row["input_ids"] == prompt + answer
        assert row["labels"] == [-100] * len(prompt) + answer


def test_the_pairs_trained_on_begin_with_the_sampled_prompts(
    folder: Path, sft_rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = captured(monkeypatch, train_dpo)
    pairs = sft_rows.select("question_id", "prompt", chosen="completion", rejected=pl.lit("SELECT 1"))
    params = TrainDpoParams.model_validate(DPO_PARAMS | {"max_length": 512})
    with pytest.raises(KeyboardInterrupt):
        objective = OBJECTIVES["cdpo"].model_validate(BLOCKS["cdpo"])
        train_dpo.train_dpo(pairs, params, objective, folder, tmp_path / "dpo", tmp_path / "log")
    _, tokenizer = load_model(folder)
    chosen = {tokenizer.decode(row["chosen_ids"]): row for row in rows}
    prompts = tokens_sampled_from(folder, sft_rows["prompt"][:3].to_list())
    for prompt, text in zip(prompts, pairs["chosen"], strict=False):
        row = chosen[f"{text}</s>"]
        assert row["prompt_ids"] == prompt
        assert tokenizer.decode(row["rejected_ids"]) == "SELECT 1</s>"


@pytest.mark.parametrize(("more", "kept"), [(0, 0), (1, 1)])
def test_max_length_counts_the_templates_tokens_and_the_end_token(
    more: int, kept: int, folder: Path, sft_rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tokenizer = load_model(folder)
    row = sft_rows.head(1)
    answer = tokenizer(row["completion"][0], add_special_tokens=False)["input_ids"]
    limit = len(tokens_of_chat(tokenizer, row["prompt"][0])) + len(answer) + more
    rows = captured(monkeypatch, train_sft)
    params = params_of(base=str(folder), revision="v1", scratch=None, max_length=limit)
    with pytest.raises(KeyboardInterrupt if kept else UserError):
        train_sft.train_sft(row, params, model_path("sft/strong"), training_log("train_sft/strong"))
    assert len(rows) == kept


def test_a_trained_model_keeps_its_template(folder: Path, sft_rows: pl.DataFrame, tmp_path: Path) -> None:
    params = params_of(base=str(folder), revision="v1", scratch=None, max_length=512, epochs=0.5)
    train_sft.train_sft(sft_rows, params, model_path("sft/strong"), training_log("train_sft/strong"))
    model, tokenizer = load_model(model_path("sft/strong"))
    assert tokenizer.chat_template == TEMPLATE and isinstance(model, LlamaForCausalLM)
