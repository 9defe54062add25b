"""Computes logits only for the tokens that the loss counts, on a CPU too: TRL does so on GPUs only."""

from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def score_labels_only(model: "PreTrainedModel") -> None:
    """Replaces the fused LM head that TRL's trainers give a model. Changes nothing unless it is a Llama on a CPU.

    The log-probabilities are the same, and zero for tokens without a label. Most tokens of a text-to-SQL example belong
    to its prompt, so this saves most projections to the vocabulary.
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
        hidden = self.model(*args, **(kwargs | {"use_cache": False})).last_hidden_state[:, :-1]
        labels = labels[:, 1:]
        mask = labels != -100
        fields = _token_fields(self.lm_head(hidden[mask]), labels[mask])
        by_token = {name: values.new_zeros(mask.shape).masked_scatter(mask, values) for name, values in fields.items()}
        loss = -fields["log_probs"].sum() / (mask.sum().clamp(min=1) if count is None else count)
        return FusedCausalLMOutput(loss=loss, label_mask=mask, **by_token)

    model.forward = MethodType(forward, model)


def _token_fields(logits: "torch.Tensor", labels: "torch.Tensor") -> "dict[str, torch.Tensor]":
    """The fields of each labelled token that TRL's trainers read; only `log_probs` has a gradient."""
    import torch

    log_probs = logits.log_softmax(dim=-1)
    with torch.no_grad():
        without_gradient = {
            "entropy": -(log_probs.exp() * log_probs).sum(dim=-1),
            "mean_logits": logits.mean(dim=-1),
            "is_top1": logits.argmax(dim=-1) == labels,
        }
    return {"log_probs": log_probs.gather(-1, labels[:, None])[:, 0], **without_gradient}
