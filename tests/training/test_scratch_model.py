"""The base model `scratch` and its tokenizer."""

import string

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from stages.training.scratch_model import new_model, train_tokenizer

TEXTS = ["singer(singer_id, name)\nquestion: Who sings?\nsql:\n", "SELECT name FROM singer WHERE country = 'New York'"]
TOKENIZER = train_tokenizer(TEXTS, vocab_size=320, max_length=64)


@given(st.text(alphabet=string.printable[:95] + "\n"))
def test_decoding_gives_back_any_encoded_ascii_text(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_a_word_is_the_same_tokens_in_a_question_in_a_name_and_in_a_literal() -> None:
    word = TOKENIZER("York")["input_ids"]
    for text, start in [("in New York?", 2), ("'York'", 1), ("york_York", 2)]:
        ids = TOKENIZER(text)["input_ids"]
        assert any(ids[at : at + len(word)] == word for at in range(start, len(ids)))


def test_the_same_texts_give_the_same_tokenizer() -> None:
    again = train_tokenizer(TEXTS, vocab_size=320, max_length=64)
    assert again.backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()


def test_a_prompt_ends_on_a_token_boundary(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt, whole = (tokenizer(text)["input_ids"] for text in ("a?\nsql:\n", "a?\nsql:\nSELECT name"))
    assert whole[: len(prompt)] == prompt


def test_the_seed_decides_the_weights(tokenizer: PreTrainedTokenizerFast) -> None:
    first, same, other = (new_model(tokenizer, 32, 1, 2, seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
