"""The params of GRPO."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.execution.comparison import Contract
from stages.training.params import TrainingParams


class GrpoParams(TrainingParams):
    """The params of a training with GRPO; `batch_size` counts completions."""

    engine: Literal["transformers", "vllm"]
    num_generations: int = Field(ge=2, le=10**4)
    temperature: float = Field(gt=0, le=100)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(gt=0, le=10**6)
    beta: float = Field(ge=0, le=10**3)
    epsilon: float = Field(gt=0, lt=1)
    contract: Contract
    runs: float = Field(ge=0, lt=1)
    counterexamples: int = Field(ge=0, le=1000)
    budget_floor: int = Field(gt=0, le=10**12)
    budget_factor: int = Field(gt=0, le=10**6)

    @field_validator("num_generations")
    @classmethod
    def _divides_step(cls, num_generations: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size", 0)  # 0 if it is invalid itself
        if batch_size % num_generations:
            message = f"a step holds whole groups: give a number that divides `batch_size`, which is {batch_size}"
            raise PydanticCustomError("num_generations", message)
        return num_generations

    @field_validator("max_tokens")
    @classmethod
    def _leaves_room(cls, max_tokens: int, info: ValidationInfo) -> int:
        max_length = info.data.get("max_length", max_tokens + 1)
        if max_tokens >= max_length:
            message = f"no prompt fits beside it into `max_length`, which is {max_length}; lower it, or raise that"
            raise PydanticCustomError("max_tokens", message)
        return max_tokens
