"""The params of both trainings."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.core.params import Params


class LoraParams(Params):
    """Low-rank adapters (Hu et al. 2021) for every linear layer but the LM head, scaled by `alpha`/`rank`."""

    rank: int = Field(gt=0, le=2**16)
    alpha: float = Field(gt=0, le=10**6)
    dropout: float = Field(ge=0, lt=1)


class TrainingParams(Params):
    """The params that `train_sft.<role>` and `train_dpo` have in common."""

    lora: LoraParams | None
    seed: int = Field(ge=0, lt=2**32)  # numpy's limit
    epochs: float = Field(gt=0, le=10_000)
    batch_size: int = Field(gt=0, le=10**6)
    micro_batch: int | None = Field(gt=0, le=10**6)
    learning_rate: float = Field(gt=0, lt=1)
    warmup: float = Field(ge=0, lt=1)
    max_length: int = Field(gt=0, le=10**8)
    precision: Literal["float32", "bfloat16"]
    gradient_checkpointing: bool
    save_steps: int = Field(gt=0, le=10**9, multiple_of=10)  # a logged window must not span a checkpoint

    @field_validator("micro_batch")
    @classmethod
    def _divides_batch(cls, micro_batch: int | None, info: ValidationInfo) -> int | None:
        batch_size = info.data.get("batch_size", 0)  # 0 if it is invalid itself
        if micro_batch and batch_size % micro_batch:
            raise PydanticCustomError("micro_batch", f"give a number that divides `batch_size`, which is {batch_size}")
        return micro_batch
