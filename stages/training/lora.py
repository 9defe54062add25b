"""Low-rank adapters (LoRA, Hu et al. 2021): put beside a model's linear layers, and merged into its weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stages.training.params import LoraParams

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel


def with_adapters(model: "PreTrainedModel", lora: LoraParams, seed: int) -> "PreTrainedModel":
    """The model, frozen, with float32 adapters drawn from `seed` beside every linear layer but the LM head."""
    from peft import get_peft_model
    from transformers import set_seed

    set_seed(seed)
    return cast("PreTrainedModel", get_peft_model(model, _config(lora)))


def without_own_dropout(model: "PreTrainedModel") -> None:
    """Turns off the dropout that the model brings along; that of adapters stays as `lora` has it."""
    from torch.nn import Dropout

    for name, module in model.named_modules():
        if isinstance(module, Dropout) and "lora_dropout" not in name:
            module.p = 0.0
        for key in [key for key, value in vars(module).items() if "dropout" in key and isinstance(value, float)]:
            setattr(module, key, 0.0)  # of what drops without a module of its own, such as a Llama's attention


def merged(model: "PreTrainedModel", state: dict[str, Any], lora: LoraParams, folder: Path) -> "PreTrainedModel":
    """The model with the adapters in `state` added to the weights in `state`; writes the adapters to `folder`.

    `model`: one of the right shape without adapters; its own weights are not read.
    """
    from peft import get_peft_model

    adapted = get_peft_model(model, _config(lora), low_cpu_mem_usage=True)
    adapted.load_state_dict(state, assign=True)
    model.tie_weights()  # gathered from shards, tied weights come apart, and peft would take them for untied
    config: Any = adapted.peft_config["default"]
    config.target_modules = sorted(config.target_modules)  # a set is written in another order by each process
    adapted.save_pretrained(str(folder))
    (folder / "README.md").unlink()  # peft's card, with nothing in it
    return cast("PreTrainedModel", adapted.merge_and_unload())


def _config(lora: LoraParams) -> "LoraConfig":
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout,  # type: ignore[arg-type]  # 0.5 is an alpha too
        target_modules="all-linear", task_type="CAUSAL_LM",
    )  # fmt: skip
