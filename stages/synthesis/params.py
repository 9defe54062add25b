"""The section of params.yaml that says what strong data is made, and how."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stages.core.params import Params
from stages.synthesis.strong_model import BudgetParams


class DemoStrongParams(Params):
    """Section `synthesize.demo` of params.yaml."""

    mistake_rate: float = Field(ge=0, le=1)


class SynthesizeParams(Params):
    """Section `synthesize` of params.yaml."""

    source: Literal["demo", "endpoint", "file", "none"]
    endpoint: str | None = Field(min_length=1)
    file: str | None = Field(pattern=r"^[\w-][\w.-]*$")
    items: int | None = Field(ge=1, le=10**8)
    questions_per_database: int = Field(ge=1, le=1000)
    votes: int = Field(ge=0, le=100)
    repair_rounds: int = Field(ge=0, le=10)
    budget: BudgetParams
    step_budget: int = Field(gt=0, le=10**12)
    temperature: float = Field(ge=0, le=2)
    max_tokens: int = Field(gt=0, le=10**6)
    seed: int = Field(ge=0, lt=2**63)
    demo: DemoStrongParams

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.source in ("endpoint", "file") and getattr(self, self.source) is None:
            raise PydanticCustomError(self.source, f"`source` is {self.source}, so give `{self.source}`")
        if self.source == "file" and (self.votes or self.repair_rounds) and self.endpoint is None:
            fix = "give `endpoint`, or set `votes` and `repair_rounds` to 0"
            raise PydanticCustomError("endpoint", f"the votes and repairs of a file ask an endpoint; {fix}")
        if self.source in ("demo", "endpoint") and self.items is None:
            raise PydanticCustomError("items", f"`source` is {self.source}, which has no end; give `items`")
        return self
