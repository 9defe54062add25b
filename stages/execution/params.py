"""The section of params.yaml that all stages share which execute SQL."""

from pydantic import Field

from stages.core.params import Params
from stages.execution.sandbox import Limits


class ExecutionParams(Params):
    """Section `execution` of params.yaml: the safety nets, each of which makes a query `undecided`."""

    wall_seconds: float = Field(gt=0, le=86_400)
    memory_mb: int = Field(ge=64, le=10**6)
    max_rows: int = Field(gt=0, le=10**8)
    result_mb: int = Field(gt=0, le=10**5)

    def limits(self) -> Limits:
        return Limits(self.wall_seconds, self.memory_mb, self.max_rows, self.result_mb)
