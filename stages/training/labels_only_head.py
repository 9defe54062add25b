"""Scores only the tokens that a loss counts, on a CPU too: elsewhere than on a GPU, TRL projects every position."""

from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def score_labels_only(model: "PreTrainedModel") -> None:
    """Replaces the fused LM head that TRL's trainers gave a Llama on a CPU, with adapters or without; any other model
    stays as it is.

    The same log-probabilities, and zeros where no label is. Most tokens of a text-to-SQL example are its prompt, so
    most of the projections to the vocabulary are saved.
    """
    from peft import PeftModel
    from transformers import LlamaForCausalLM
    from trl.trainer.utils import FusedCausalLMOutput

    if isinstance(model, PeftModel):
        model = model.get_base_model()
    if not isinstance(model, LlamaForCausalLM) or model.device.type != "cpu":
        return
    original = model.forward

    def forward(
        self: LlamaForCausalLM,
        *args: Any,
        labels: "torch.Tensor | None" = None,
        fused_lm_head: bool = False,
        **kwargs: Any,
    ) -> Any:
        if not fused_lm_head or labels is None:
            return original(*args, labels=labels, **kwargs)
        count = kwargs.pop("num_items_in_batch", None)
        kwargs["use_cache"] = False
        hidden = self.model(*args, **kwargs).last_hidden_state[:, :-1]
        labels = labels[:, 1:]
        mask = labels != -100
        fields = _token_fields(self.lm_head(hidden[mask]), labels[mask])
        spread = {name: values.new_zeros(mask.shape).masked_scatter(mask, values) for name, values in fields.items()}
        loss = -fields["log_probs"].sum() / (mask.sum().clamp(min=1) if count is None else count)
        return FusedCausalLMOutput(loss=loss, label_mask=mask, **spread)

    model.forward = MethodType(forward, model)


def _token_fields(logits: "torch.Tensor", labels: "torch.Tensor") -> "dict[str, torch.Tensor]":
    """What TRL's trainers read of each scored token; only `log_probs` has a gradient."""
    import torch

    log_probs = logits.log_softmax(dim=-1)
    with torch.no_grad():
        read_only = {
            "entropy": -(log_probs.exp() * log_probs).sum(dim=-1),
            "mean_logits": logits.mean(dim=-1),
            "is_top1": logits.argmax(dim=-1) == labels,
        }
    return {"log_probs": log_probs.gather(-1, labels[:, None])[:, 0], **read_only}
