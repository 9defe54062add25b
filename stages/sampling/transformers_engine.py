"""The engine `transformers`: samples on this machine, and reads what prompts and samples have in common once."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.files import sha256_code, sha256_folder
from stages.lm.chat_template import render_prompts
from stages.lm.completions import Completion, Decoding, PromptedQuestion
from stages.lm.device import device_identity
from stages.lm.loading import context_length, load_model
from stages.sampling.prefix_attention_check import use_prefix_attention
from stages.sampling.prefix_decoding import PrefilledPrompts, decode
from stages.sampling.token_sampling import uniform_numbers

_ROOMS = ("lm", "sampling")  # all code of ours that a completion depends on


class TransformersEngine:
    """Runs a model with transformers: on a GPU if there is one, in the precision that it was saved in.

    Reads the common prefix of a group's prompts once, and a prompt once for all its samples; ended samples leave the
    batch. Raises UserError if the model cannot be loaded, or its attention does not allow this.
    """

    block_size = 4

    def __init__(self, model: Path, batch_size: int) -> None:
        import torch

        self.name, self.version, self.batch_size = model.name, sha256_folder(model), batch_size
        loaded, self.tokenizer = load_model(model)
        self.model = loaded.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self.end_token = int(self.tokenizer.eos_token_id)
        use_prefix_attention(self.model, model)

    def batches(self, questions: Sequence[PromptedQuestion]) -> list[list[int]]:
        """Batches of at most `batch_size` questions with prompts of similar length (in characters).

        Only a group with more questions than that is split.
        """
        groups: dict[str, list[int]] = {}
        for position, question in enumerate(questions):
            groups.setdefault(question.group, []).append(position)
        longest = {name: max(len(questions[position].prompt) for position in group) for name, group in groups.items()}
        batches: list[list[int]] = [[]]
        for name in sorted(groups, key=lambda name: (longest[name], name)):
            if len(batches[-1]) + len(groups[name]) > self.batch_size:
                batches.append([])
            for position in groups[name]:
                if len(batches[-1]) == self.batch_size:
                    batches.append([])
                batches[-1].append(position)
        return [batch for batch in batches if batch]

    def identity(self, batch: Sequence[PromptedQuestion]) -> object:
        """The model, the code, the libraries, the device and the batch: all of them change the rounding of sums."""
        code = sha256_code(*_ROOMS), version("torch"), version("transformers")
        questions = [asdict(question) for question in batch]
        return ["transformers", self.version, *code, *device_identity(), questions]

    def sample(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, first: int, count: int
    ) -> list[list[Completion]]:
        """Completions as `Engine.sample`; none if a prompt and `max_tokens` together exceed the context."""
        import torch

        token_ids = self.tokenizer(render_prompts(self.tokenizer, [question.prompt for question in questions]))
        prompts: list[list[int]] = token_ids["input_ids"]
        limit = context_length(self.model) - decoding.max_tokens
        fitting = [position for position, ids in enumerate(prompts) if len(ids) <= limit]
        fitting.sort(key=lambda position: questions[position].group)
        rows: list[list[Completion]] = [[] for _ in questions]
        if fitting:
            groups = [questions[position].group for position in fitting]
            question_ids = [questions[position].question_id for position in fitting]
            with torch.inference_mode():
                prefilled = PrefilledPrompts(self.model, [prompts[position] for position in fitting], groups)
                for start in range(first, first + count, self.block_size):
                    numbers = range(start, min(start + self.block_size, first + count))
                    blocks = self._sample_block(prefilled, question_ids, numbers, decoding)
                    for position, block in zip(fitting, blocks, strict=True):
                        rows[position] += block
        return rows

    def _sample_block(
        self, prompts: PrefilledPrompts, question_ids: Sequence[str], numbers: range, decoding: Decoding
    ) -> Iterator[list[Completion]]:
        """The completions with these numbers of each question."""
        uniform = np.stack([
            uniform_numbers(decoding.seed, question_id, number, decoding.max_tokens)
            for question_id in question_ids for number in numbers
        ])  # fmt: skip
        tokens, logprobs = decode(prompts, uniform, decoding, self.end_token)
        samples = zip(tokens.tolist(), logprobs.tolist(), strict=True)
        for _ in question_ids:
            yield [self._completion(*next(samples)) for _ in numbers]

    def _completion(self, tokens: list[int], logprobs: list[float]) -> Completion:
        ended = self.end_token in tokens
        count = tokens.index(self.end_token) + 1 if ended else len(tokens)
        text = str(self.tokenizer.decode(tokens[: count - ended]))
        return Completion(text, "stop" if ended else "length", count, round(sum(logprobs[:count]), 6))

    def report(self) -> dict[str, Any]:
        """Nothing: sampling on this machine has no costs to report."""
        return {}
