"""Opens the engine that params name."""

from pathlib import Path
from typing import Literal

from stages.core.progress import progress
from stages.lm.completions import Engine


def open_engine(name: Literal["transformers", "vllm", "openai"], model: Path, batch_size: int) -> Engine:
    """Opens the engine `name` with a model: its folder, or for `openai` the file that describes the endpoint.

    `batch_size`: questions of a batch; only transformers uses it. Raises UserError if the engine cannot load the model.
    """
    if name == "openai":
        from stages.sampling.openai_engine import OpenaiEngine

        return OpenaiEngine(model)
    with progress("loading the model", None):
        if name == "vllm":
            from stages.sampling.vllm_engine import VllmEngine

            return VllmEngine(model)
        from stages.sampling.transformers_engine import TransformersEngine

        return TransformersEngine(model, batch_size)
