"""The engine `vllm`: samples of a model in a folder, run with vLLM on every GPU there is (its CPU build: in tests)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import UserError
from stages.core.files import sha256_file, sha256_folder
from stages.lm.chat_template import model_texts
from stages.lm.completions import Ask, Decoding, Sample
from stages.lm.loading import load_tokenizer, model_folder
from stages.sampling.seeds import first_seed

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams
    from vllm.outputs import CompletionOutput

_QUESTIONS = 512  # of a batch: enough that vLLM is never short of work, and little is lost by a kill
_SHOWN = 300  # characters of a reason


class VllmEngine:
    """A model in a folder, in the precision it was saved in; its weights are split over all GPUs.

    vLLM caches what prompts have in common. Its last bits depend on what else runs, so a log-probability may differ in
    its last digits from run to run. Raises UserError where vLLM is not installed, or cannot run the model.
    """

    together = 1

    def __init__(self, model: Path) -> None:
        os.environ["VLLM_NO_USAGE_STATS"] = "1"  # it would tell its makers of each run
        try:
            import vllm
        except ImportError:
            fix = "`pip install '.[vllm]'`, or set `engine` to transformers"
            raise UserError(f"`engine` is vllm, which is not installed; {fix}") from None
        self.name, self.version, self.release = model.name, sha256_folder(model), vllm.__version__
        self.tokenizer = load_tokenizer(model_folder(model))
        self.model = _load(model)
        self.context = int(self.model.model_config.max_model_len)

    def batches(self, asks: Sequence[Ask]) -> list[list[int]]:
        """Questions of one group next to each other, so that their common beginning is still in vLLM's cache."""
        order = sorted(range(len(asks)), key=lambda position: (asks[position].group, position))
        return [order[start : start + _QUESTIONS] for start in range(0, len(order), _QUESTIONS)]

    def identity(self, batch: Sequence[Ask]) -> object:
        """The model, vLLM's version and this code."""
        return ["vllm", self.version, self.release, sha256_file(Path(__file__))]

    def sample(self, asks: Sequence[Ask], decoding: Decoding, first: int, count: int) -> list[list[Sample]]:
        """Samples number `first` to `first + count` of each; none where prompt and `max_tokens` exceed the context."""
        read = self.tokenizer(model_texts(self.tokenizer, [ask.prompt for ask in asks]))["input_ids"]
        fit = [i for i, ids in enumerate(read) if len(ids) + decoding.max_tokens <= self.context]
        made: list[list[Sample]] = [[] for _ in asks]
        outputs = self.model.generate(
            [{"prompt_token_ids": read[i]} for i in fit],
            [self._params(asks[i].question_id, decoding, first, count) for i in fit],
            use_tqdm=False,
        )
        for i, output in zip(fit, outputs, strict=True):
            made[i] = [self._sample(one) for one in sorted(output.outputs, key=lambda one: one.index)]
        return made

    def _params(self, question_id: str, decoding: Decoding, first: int, count: int) -> "SamplingParams":
        """vLLM gives the i-th of `n` samples the seed plus i, so that sample 8 is the same with n = 9 as with 16."""
        from vllm import SamplingParams

        return SamplingParams(
            n=count, seed=first_seed(decoding.seed, question_id) + first, temperature=decoding.temperature,
            top_p=decoding.top_p, max_tokens=decoding.max_tokens, logprobs=0, detokenize=False,
            # The tokenizer's end token and no other, as in the engine transformers: a generation_config may name more.
            ignore_eos=True, stop_token_ids=[int(self.tokenizer.eos_token_id)],
        )  # fmt: skip

    def _sample(self, output: "CompletionOutput") -> Sample:
        tokens = list(output.token_ids)
        ended = output.finish_reason == "stop"
        text = str(self.tokenizer.decode(tokens[: len(tokens) - ended]))
        return Sample(text, "stop" if ended else "length", len(tokens), round(output.cumulative_logprob or 0.0, 6))

    def report(self) -> dict[str, Any]:
        """Nothing beyond the samples."""
        return {}


def _load(model: Path) -> "LLM":
    import torch
    import vllm
    from safetensors import SafetensorError
    from transformers import AutoConfig

    gpus = torch.cuda.device_count()
    saved = AutoConfig.from_pretrained(model, trust_remote_code=False).dtype  # "auto" halves float32
    try:
        return vllm.LLM(
            str(model), dtype=saved or "auto", load_format="safetensors", trust_remote_code=False,
            tensor_parallel_size=max(gpus, 1), enable_prefix_caching=True,
            enable_chunked_prefill=gpus > 0,  # the CPU build fails where a prompt with a seed is read in parts
            max_model_len=-1,  # the model's context, or as much of it as the memory has room for
            generation_config="vllm", disable_log_stats=True,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:_SHOWN]
        fix = "choose another, give it more memory, or set `engine` to transformers"
        raise UserError(f"vLLM cannot run the model `{model}` ({reason}); {fix}") from None
