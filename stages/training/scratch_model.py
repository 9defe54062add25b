"""The base model `scratch`: a small Llama, and a tokenizer trained on the SFT set. Needs no GPU and no network."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_PAD, _END, _UNKNOWN = "<pad>", "<end>", "<unk>"
_WORD, _START = "[A-Za-z0-9]", "▁"  # a character of a word; the mark at the start of a word


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int) -> "PreTrainedTokenizerFast":
    """Trains a BPE tokenizer that splits a word into the same tokens everywhere, so that a model can copy it.

    Words are runs of ASCII letters and digits. The text between two words (` = '`, `, `, `_`) is tokenized separately;
    a single space there is no token, and decoding restores it. Decoding an encoded text gives the same text, except for
    `▁` and for unknown characters: those that are neither printable ASCII nor in `texts`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Replace(Regex(f"(?<!{_WORD})(?={_WORD})"), _START)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(f"(?<={_WORD}) (?={_START})"), "removed"),
        pre_tokenizers.Split(Regex(f"{_START}{_WORD}+"), "isolated"),
    ])
    tokenizer.decoder = decoders.Sequence([
        decoders.Fuse(), decoders.Replace(Regex(f"(?<={_WORD}){_START}"), " "), decoders.Replace(_START, ""),
    ])
    # Without `continuing_subword_prefix`: with it, each run numbers the characters in another order.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[_PAD, _END, _UNKNOWN],
        initial_alphabet=[chr(code) for code in (10, *range(32, 127))] + [_START],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, eos_token=_END, unk_token=_UNKNOWN, model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def new_model(
    tokenizer: "PreTrainedTokenizerFast", hidden_size: int, layers: int, heads: int, seed: int
) -> "LlamaForCausalLM":
    """A Llama with tied embeddings, a feed-forward width of 3 `hidden_size`, and weights drawn from `seed`.

    Text-to-SQL is mostly copying names and values, which a small model learns late, so attention is initialised to copy
    (mimetic initialisation, Trockman and Kolter 2023): query and key weights are equal, so that a token attends to
    tokens like itself, and output weights invert the value weights, so that it predicts the tokens it attends to. The
    other weights have standard deviation 1/√hidden_size, not the 0.02 of wide models.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=tokenizer.model_max_length,
        initializer_range=hidden_size**-0.5,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    set_seed(seed)
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        attention = layer.self_attn
        torch.nn.init.orthogonal_(attention.v_proj.weight)
        with torch.no_grad():
            attention.o_proj.weight.copy_(attention.v_proj.weight.T)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
    return model
