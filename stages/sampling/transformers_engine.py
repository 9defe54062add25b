"""The engine `transformers`: samples of a model here, where what prompts and samples share is read once."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.files import sha256_code, sha256_folder
from stages.lm.chat_template import model_texts
from stages.lm.completions import Ask, Decoding, Sample
from stages.lm.device import device_identity
from stages.lm.loading import context_of, load_model
from stages.sampling.prefix_attention_check import share_attention
from stages.sampling.prefix_decoding import Prompts, decode
from stages.sampling.token_sampling import uniforms

_ROOMS = ("lm", "sampling")  # all code of ours that shows in a sample


class TransformersEngine:
    """A model in a folder, run with transformers: on a GPU if there is one, in the precision it was saved in.

    The prompts of a group share their beginning, the samples of a question its prompt, and samples that have ended
    leave the batch. Raises UserError where the model cannot be loaded, or its attention cannot be shared.
    """

    together = 4

    def __init__(self, model: Path, batch_size: int) -> None:
        import torch

        self.name, self.version, self.batch_size = model.name, sha256_folder(model), batch_size
        loaded, self.tokenizer = load_model(model)
        self.model = loaded.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self.end = int(self.tokenizer.eos_token_id)
        share_attention(self.model, model)

    def batches(self, asks: Sequence[Ask]) -> list[list[int]]:
        """At most `batch_size` questions each, prompts of similar length (in characters) together. A group is split
        only where it is larger than that."""
        groups: dict[str, list[int]] = {}
        for position, ask in enumerate(asks):
            groups.setdefault(ask.group, []).append(position)
        longest = {name: max(len(asks[position].prompt) for position in group) for name, group in groups.items()}
        made: list[list[int]] = [[]]
        for name in sorted(groups, key=lambda name: (longest[name], name)):
            if len(made[-1]) + len(groups[name]) > self.batch_size:
                made.append([])
            for position in groups[name]:
                if len(made[-1]) == self.batch_size:
                    made.append([])
                made[-1].append(position)
        return [batch for batch in made if batch]

    def identity(self, batch: Sequence[Ask]) -> object:
        """The model, the code, the libraries, the device and the batch: all of it shows in the last bits."""
        return [
            "transformers", self.version, sha256_code(*_ROOMS), version("torch"), version("transformers"),
            *device_identity(),
            [asdict(ask) for ask in batch],
        ]  # fmt: skip

    def sample(self, asks: Sequence[Ask], decoding: Decoding, first: int, count: int) -> list[list[Sample]]:
        """Samples number `first` to `first + count` of each; none where prompt and `max_tokens` exceed the context."""
        import torch

        read = self.tokenizer(model_texts(self.tokenizer, [ask.prompt for ask in asks]))["input_ids"]
        room = context_of(self.model) - decoding.max_tokens
        fit = sorted((i for i, ids in enumerate(read) if len(ids) <= room), key=lambda i: asks[i].group)
        made: list[list[Sample]] = [[] for _ in asks]
        if fit:
            with torch.inference_mode():
                prompts = Prompts(self.model, [read[i] for i in fit], [asks[i].group for i in fit])
                for start in range(first, first + count, self.together):
                    numbers = range(start, min(start + self.together, first + count))
                    rows = self._samples(prompts, [asks[i].question_id for i in fit], numbers, decoding)
                    for i, row in zip(fit, rows, strict=True):
                        made[i] += row
        return made

    def _samples(
        self, prompts: Prompts, question_ids: Sequence[str], numbers: range, decoding: Decoding
    ) -> Iterator[list[Sample]]:
        """The samples with these numbers of each question."""
        random = np.stack([
            uniforms(decoding.seed, question_id, number, decoding.max_tokens)
            for question_id in question_ids for number in numbers
        ])  # fmt: skip
        made = zip(*(part.tolist() for part in decode(prompts, random, decoding, self.end)), strict=True)
        for _ in question_ids:
            yield [self._sample(*next(made)) for _ in numbers]

    def _sample(self, tokens: list[int], logprobs: list[float]) -> Sample:
        ended = self.end in tokens
        count = tokens.index(self.end) + 1 if ended else len(tokens)
        text = str(self.tokenizer.decode(tokens[: count - ended]))
        return Sample(text, "stop" if ended else "length", count, round(sum(logprobs[:count]), 6))

    def report(self) -> dict[str, Any]:
        """Nothing beyond the samples."""
        return {}
