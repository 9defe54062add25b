"""Replaces a model's attention by prefix attention, after checking that both compute the same."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.core.errors import UserError
from stages.sampling.prefix_attention import NAME, OwnTokens, attend
from stages.sampling.prefix_decoding import PrefilledPrompts, forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROMPTS = [[0, 1, 2, 3, 4, 5], [0, 1, 2, 7, 6]]
_NEXT_TOKEN = 8


def use_prefix_attention(model: "PreTrainedModel", source: Path) -> None:
    """Sets the model's attention. Raises UserError unless every token attends to all earlier tokens in the same way.

    The config may not say so, so the logits after each prompt and after one more token are compared with those of the
    model's own attention, which reads each text alone.
    """
    import torch
    from transformers import AttentionInterface

    reason = _config_problem(model)
    if not reason:
        AttentionInterface.register(NAME, attend)
        texts = [*_PROMPTS, *([*ids, _NEXT_TOKEN] for ids in _PROMPTS)]
        with torch.inference_mode():
            outputs = [model(input_ids=torch.tensor([ids], device=model.device), use_cache=False) for ids in texts]
            own_logits = torch.stack([output.logits[0, -1].float() for output in outputs])
            model.set_attn_implementation(NAME)
            prompts = PrefilledPrompts(model, _PROMPTS, ["", ""])
            tokens, positions = torch.tensor([_NEXT_TOKEN, _NEXT_TOKEN]), torch.from_numpy(prompts.lengths)
            next_logits = forward(model, tokens, positions, [*prompts.parts(np.arange(2)), OwnTokens(1)])
            difference = torch.cat([prompts.logits, next_logits]).float() - own_logits
            relative = difference.abs().max() / own_logits.std()
        if not relative < (1e-3 if model.dtype == torch.float32 else 0.1):
            reason = "its own gives other logits"
    if reason:
        raise UserError(
            f"the attention of the model `{source}` cannot be shared between samples ({reason}); set `engine` to vllm"
        )


def _config_problem(model: "PreTrainedModel") -> str:
    """Why the config rules prefix attention out; empty if it does not."""
    config = model.config.get_text_config()
    other_types = set(getattr(config, "layer_types", None) or []) - {"full_attention"}
    if other_types or getattr(config, "sliding_window", None):
        return f"it has layers of {', '.join(sorted(other_types)) or 'sliding_attention'}"
    if getattr(config, "attn_logit_softcapping", None):
        return "its scores are capped"
    parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}  # for all layers, or each type of layer
    ropes = {str(part.get("rope_type")) for part in (parameters, *parameters.values()) if isinstance(part, dict)}
    if dynamic := sorted(rope for rope in ropes if "dynamic" in rope or rope == "longrope"):
        return f"the positions of rope {', '.join(dynamic)} depend on the longest text read at once"
    return "" if model._supports_attention_backend else "its implementation takes no other attention"
