"""Models and tokenizers from a folder or the Hub: safetensors only, no remote code."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_model(source: str | Path, revision: str | None = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A causal model in float32 (bfloat16 on an accelerator that has it) and its tokenizer.

    `source`: a folder, or a Hub id with the `revision` it is pinned to. Raises UserError where neither can be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    half = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    dtype = torch.bfloat16 if half else torch.float32
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            source, revision=revision, trust_remote_code=False, use_safetensors=True, dtype=dtype
        )
    except (OSError, ValueError) as error:
        raise UserError(f"the model `{source}` cannot be loaded ({' '.join(str(error).split())})") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer
