"""Gives a model shared attention, where that says the same as the model's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.core.errors import UserError
from stages.sampling.prefix_attention import NAME, Own, attend
from stages.sampling.prefix_decoding import Prompts, run

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel


def share_attention(model: "PreTrainedModel", source: Path) -> None:
    """Sets the model's attention. Raises UserError where the model does more than attend to all earlier tokens alike.

    What a config does not tell shows in the logits: they are compared with those of the model's own attention.
    """
    import torch
    from transformers import AttentionInterface

    reason = _told(model)
    if not reason:
        AttentionInterface.register(NAME, attend)
        with torch.inference_mode():
            plain = _plain(model)
            model.set_attn_implementation(NAME)
            apart = (_shared(model) - plain).abs().max() / plain.std()
        if not apart < (1e-3 if model.dtype == torch.float32 else 0.1):
            reason = "its own gives other logits"
    if reason:
        raise UserError(
            f"the attention of the model `{source}` cannot be shared between samples ({reason}); set `engine` to vllm"
        )


def _told(model: "PreTrainedModel") -> str:
    """What the config tells against it; empty if nothing."""
    config = model.config.get_text_config()
    others = set(getattr(config, "layer_types", None) or []) - {"full_attention"}
    if others or getattr(config, "sliding_window", None):
        return f"it has layers of {', '.join(sorted(others)) or 'sliding_attention'}"
    if getattr(config, "attn_logit_softcapping", None):
        return "its scores are capped"
    if moving := sorted(rope for rope in _ropes(config) if "dynamic" in rope or rope == "longrope"):
        return f"the positions of rope {', '.join(moving)} depend on the longest text read at once"
    return "" if model._supports_attention_backend else "its implementation takes no other attention"


def _ropes(config: "PreTrainedConfig") -> set[str]:
    """The kinds of rotary positions, which a config has for all layers or for each kind of layer."""
    given: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    blocks = [block for block in (given, *given.values()) if isinstance(block, dict)]
    return {str(block.get("rope_type")) for block in blocks}


_PROMPTS = [[0, 1, 2, 3, 4, 5], [0, 1, 2, 7, 6]]
_NEXT = 8


def _plain(model: "PreTrainedModel") -> "torch.Tensor":
    """The logits after the prompts and after one more token, each text read for itself."""
    import torch

    texts = [*_PROMPTS, *([*ids, _NEXT] for ids in _PROMPTS)]
    read = [model(input_ids=torch.tensor([ids], device=model.device), use_cache=False) for ids in texts]
    return torch.stack([output.logits[0, -1].float() for output in read])


def _shared(model: "PreTrainedModel") -> "torch.Tensor":
    """The same, with shared attention."""
    import torch

    prompts = Prompts(model, _PROMPTS, ["", ""])
    tokens, positions = torch.tensor([_NEXT, _NEXT]), torch.from_numpy(prompts.lengths)
    after = run(model, tokens, positions, [*prompts.parts(np.arange(2)), Own(1)])
    return torch.cat([prompts.logits, after]).float()
