"""Adds low-rank adapters (LoRA, Hu et al. 2021) to a model's linear layers, and merges them into its weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stages.training.params import LoraParams

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel


def add_adapters(model: "PreTrainedModel", lora: LoraParams, seed: int) -> "PreTrainedModel":
    """Freezes the model, and adds float32 adapters drawn from `seed` to every linear layer but the LM head."""
    from peft import get_peft_model
    from transformers import set_seed

    set_seed(seed)
    return cast("PreTrainedModel", get_peft_model(model, _config(lora)))


def disable_base_dropout(model: "PreTrainedModel") -> None:
    """Disables the model's own dropout; that of its adapters is kept."""
    from torch.nn import Dropout

    for name, module in model.named_modules():
        if isinstance(module, Dropout) and "lora_dropout" not in name:
            module.p = 0.0
        for key in [key for key, value in vars(module).items() if "dropout" in key and isinstance(value, float)]:
            setattr(module, key, 0.0)  # dropout without a Dropout module, as in a Llama's attention


def merge_adapters(
    model: "PreTrainedModel", state: dict[str, Any], lora: LoraParams, folder: Path
) -> "PreTrainedModel":
    """Merges the adapters in `state` into the weights in `state`, and writes the adapters to `folder`.

    `model` has the right shape and no adapters; its own weights are not read. Returns the merged model.
    """
    from peft import get_peft_model

    adapted = get_peft_model(model, _config(lora), low_cpu_mem_usage=True)
    adapted.load_state_dict(state, assign=True)
    model.tie_weights()  # weights gathered from shards are no longer tied
    config: Any = adapted.peft_config["default"]
    config.target_modules = sorted(config.target_modules)  # a set, which each process would write in another order
    adapted.save_pretrained(str(folder))
    (folder / "README.md").unlink()  # peft's card, with nothing in it
    return cast("PreTrainedModel", adapted.merge_and_unload())


def _config(lora: LoraParams) -> "LoraConfig":
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout,  # type: ignore[arg-type]  # peft says int
        target_modules="all-linear", task_type="CAUSAL_LM",
    )  # fmt: skip
