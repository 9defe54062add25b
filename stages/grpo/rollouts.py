"""Samples of the model in training, as TRL's `rollout_func`: with its weights as they are now, and prefix attention."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lm.completions import Decoding
from stages.sampling.prefix_attention_check import use_prefix_attention
from stages.sampling.prefix_decoding import PrefilledPrompts, decode
from stages.sampling.token_sampling import uniform_numbers

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import GRPOTrainer


class Rollouts:
    """Samples completions of prompts, each from one generator of (seed, step, prompt, number of the sample).

    So a training that resumes samples what it would have sampled. The model that samples is a second module over the
    same tensors: what a step changes it sees at once, and its attention and its mode are its own.
    """

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", source: Path, decoding: Decoding,
        groups: Mapping[str, str],
    ) -> None:  # fmt: skip
        """`model`: the one to train, before a trainer has it. `source`: its folder, for messages. `groups`: of each
        prompt what it shares its beginning with. Raises UserError if the model's attention cannot be shared."""
        shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        self._model = copy.deepcopy(model, shared).eval()
        use_prefix_attention(self._model, source)
        self._tokenizer, self._decoding, self._groups = tokenizer, decoding, groups

    def __call__(self, prompts: Sequence[str], trainer: "GRPOTrainer") -> dict[str, Any]:
        """One completion for each of `prompts`, in which a prompt comes once for each of its samples.

        `prompt_ids` and `completion_ids` are token ids, with the end token where one came. `logprobs` are those of the
        model at temperature 1 without nucleus; TRL reads them only with vLLM.
        """
        counts = Counter(prompts)
        distinct = sorted(counts, key=lambda prompt: (self._groups.get(prompt, prompt), prompt))
        ids: list[list[int]] = self._tokenizer(distinct)["input_ids"]
        first = trainer.accelerator.process_index * len(prompts)  # a group may be dealt to several processes
        numbers = range(first, first + max(counts.values()))
        sampled = dict(zip(distinct, self._sample(distinct, ids, numbers, trainer), strict=True))
        prompt_ids = dict(zip(distinct, ids, strict=True))
        rows = [sampled[prompt].pop(0) for prompt in prompts]
        return {
            "prompt_ids": [prompt_ids[prompt] for prompt in prompts],
            "completion_ids": [tokens for tokens, _ in rows],
            "logprobs": [logprobs for _, logprobs in rows],
        }

    def _sample(
        self, prompts: Sequence[str], ids: Sequence[list[int]], numbers: range, trainer: "GRPOTrainer"
    ) -> list[list[tuple[list[int], list[float]]]]:
        """The samples with these numbers of each prompt: tokens and their log-probabilities."""
        import torch

        decoding, end = self._decoding, int(self._tokenizer.eos_token_id)
        step = trainer.state.global_step
        uniform = np.stack([
            uniform_numbers(decoding.seed, f"{step}/{prompt}", number, decoding.max_tokens)
            for prompt in prompts for number in numbers
        ])  # fmt: skip
        self._model.to(trainer.accelerator.device)
        with torch.inference_mode(), trainer.accelerator.autocast():
            groups = [self._groups.get(prompt, prompt) for prompt in prompts]
            tokens, logprobs = decode(PrefilledPrompts(self._model, ids, groups), uniform, decoding, end)
        rows = iter(zip(tokens.tolist(), logprobs.tolist(), strict=True))
        return [[_until_end(*next(rows), end) for _ in numbers] for _ in prompts]


def _until_end(tokens: list[int], logprobs: list[float], end: int) -> tuple[list[int], list[float]]:
    count = tokens.index(end) + 1 if end in tokens else len(tokens)
    return tokens[:count], logprobs[:count]
