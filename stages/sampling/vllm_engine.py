"""The engine `vllm`: samples with vLLM on all GPUs of this machine (tests use its CPU build)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import UserError
from stages.core.files import sha256_file, sha256_folder
from stages.lm.chat_template import render_prompts
from stages.lm.completions import Completion, Decoding, PromptedQuestion
from stages.lm.loading import load_tokenizer, model_folder
from stages.sampling.seeds import first_seed

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams
    from vllm.outputs import CompletionOutput

_BATCH_SIZE = 512  # questions: enough to keep vLLM busy, and few enough to lose little when killed
_MAX_REASON = 300  # characters


class VllmEngine:
    """Runs a model with vLLM in the precision that it was saved in; its weights are split over all GPUs.

    vLLM caches common prefixes of prompts. Its rounding depends on what else is in flight, so the last digits of a
    log-probability may differ from run to run. Raises UserError if vLLM is not installed or cannot run the model.
    """

    block_size = 1

    def __init__(self, model: Path) -> None:
        os.environ["VLLM_NO_USAGE_STATS"] = "1"  # otherwise vLLM reports each run to its developers
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # it tells of each step of its start
        try:
            import vllm
        except ImportError:
            fix = "`pip install '.[vllm]'`, or set `engine` to transformers"
            raise UserError(f"`engine` is vllm, which is not installed; {fix}") from None
        self.name, self.version, self.release = model.name, sha256_folder(model), vllm.__version__
        self.tokenizer = load_tokenizer(model_folder(model))
        self.model = _load(model)
        self.context_length = int(self.model.model_config.max_model_len)

    def batches(self, questions: Sequence[PromptedQuestion]) -> list[list[int]]:
        """Batches in which questions of one group are adjacent, so that their common prefix is still cached."""
        order = sorted(range(len(questions)), key=lambda position: (questions[position].group, position))
        return [order[start : start + _BATCH_SIZE] for start in range(0, len(order), _BATCH_SIZE)]

    def identity(self, batch: Sequence[PromptedQuestion]) -> object:
        """The model, vLLM's version and this code."""
        return ["vllm", self.version, self.release, sha256_file(Path(__file__))]

    def sample(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, first: int, count: int
    ) -> list[list[Completion]]:
        """Completions as `Engine.sample`; none if a prompt and `max_tokens` together exceed the context."""
        token_ids = self.tokenizer(render_prompts(self.tokenizer, [question.prompt for question in questions]))
        prompts: list[list[int]] = token_ids["input_ids"]
        fitting = [i for i, ids in enumerate(prompts) if len(ids) + decoding.max_tokens <= self.context_length]
        rows: list[list[Completion]] = [[] for _ in questions]
        outputs = self.model.generate(
            [{"prompt_token_ids": prompts[position]} for position in fitting],
            [self._params(questions[position].question_id, decoding, first, count) for position in fitting],
            use_tqdm=False,
        )
        for position, output in zip(fitting, outputs, strict=True):
            rows[position] = [self._completion(sample) for sample in sorted(output.outputs, key=lambda it: it.index)]
        return rows

    def _params(self, question_id: str, decoding: Decoding, first: int, count: int) -> "SamplingParams":
        """vLLM adds i to the seed for the i-th of `n` samples, so sample 8 is the same for n = 9 and for n = 16."""
        from vllm import SamplingParams

        return SamplingParams(
            n=count, seed=first_seed(decoding.seed, question_id) + first, temperature=decoding.temperature,
            top_p=decoding.top_p, max_tokens=decoding.max_tokens, logprobs=0, detokenize=False,
            # Only the tokenizer's end token ends a sample, as in `transformers`: generation_config may name more.
            ignore_eos=True, stop_token_ids=[int(self.tokenizer.eos_token_id)],
        )  # fmt: skip

    def _completion(self, output: "CompletionOutput") -> Completion:
        tokens = list(output.token_ids)
        ended = output.finish_reason == "stop"
        text = str(self.tokenizer.decode(tokens[: len(tokens) - ended]))
        return Completion(text, "stop" if ended else "length", len(tokens), round(output.cumulative_logprob or 0.0, 6))

    def report(self) -> dict[str, Any]:
        """Nothing: sampling on this machine has no costs to report."""
        return {}


def _load(model: Path) -> "LLM":
    import torch
    import vllm
    from safetensors import SafetensorError
    from transformers import AutoConfig

    gpus = torch.cuda.device_count()
    dtype = AutoConfig.from_pretrained(model, trust_remote_code=False).dtype  # vLLM's "auto" turns float32 into half
    try:
        return vllm.LLM(
            str(model), dtype=dtype or "auto", load_format="safetensors", trust_remote_code=False,
            tensor_parallel_size=max(gpus, 1), enable_prefix_caching=True,
            enable_chunked_prefill=gpus > 0,  # the CPU build fails if it reads a prompt with a seed in chunks
            max_model_len=-1,  # the model's context length, or as much of it as fits into memory
            generation_config="vllm", disable_log_stats=True,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:_MAX_REASON]
        fix = "choose another, give it more memory, or set `engine` to transformers"
        raise UserError(f"vLLM cannot run the model `{model}` ({reason}); {fix}") from None
