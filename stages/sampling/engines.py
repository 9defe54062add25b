"""The engines that sample a model, by the names that params give them."""

from pathlib import Path
from typing import Literal

from stages.lm.completions import Engine

EngineName = Literal["transformers", "vllm", "openai"]


def open_engine(name: EngineName, model: Path, batch_size: int) -> Engine:
    """The engine `name` with a model: a folder, or for openai the file that tells of the model at the endpoint.

    `batch_size`: questions at once, which transformers alone has to be told. Raises UserError where the model cannot
    be loaded, or not by this engine.
    """
    if name == "vllm":
        from stages.sampling.vllm_engine import VllmEngine

        return VllmEngine(model)
    if name == "openai":
        from stages.sampling.openai_engine import OpenaiEngine

        return OpenaiEngine(model)
    from stages.sampling.transformers_engine import TransformersEngine

    return TransformersEngine(model, batch_size)
