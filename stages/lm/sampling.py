"""Samples of a causal model: n completions a prompt, the prompt read once, each question's randomness its own."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from stages.files import read_json, write_json
from stages.lm.chat import model_texts

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sample:
    """One completion. `tokens` counts the end token; `logprob` is the model's own (temperature 1), summed over them."""

    completion: str
    finish_reason: str  # "stop" at the end token, "length" at max_tokens
    tokens: int
    logprob: float


@dataclass(frozen=True)
class Decoding:
    """How to sample. Temperature 0 is greedy decoding."""

    n: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int


def batches(prompts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", size: int) -> Iterator[list[int]]:
    """Indices of `prompts` in batches of `size`, prompts of similar length (in tokens) together."""
    lengths = [len(ids) for ids in tokenizer(list(prompts))["input_ids"]]
    order = sorted(range(len(prompts)), key=lambda index: (lengths[index], index))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def sample_all(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", question_ids: Sequence[str], prompts: Sequence[str],
    decoding: Decoding, batch_size: int, work: Path,
) -> list[list[Sample]]:
    """`decoding.n` samples of each prompt, in the order of the prompts, sent through the chat template if there is one.

    Each finished batch is kept in the folder `work` (of the same model, prompts and decoding), and not sampled again.
    """
    found: list[list[Sample]] = [[] for _ in prompts]
    read = model_texts(tokenizer, prompts)
    planned = list(batches(read, tokenizer, batch_size))
    for number, indices in enumerate(tqdm(planned, desc=f"{decoding.n} samples a question", mininterval=5)):
        part = work / f"{number:06}.json"
        if not part.exists():
            ids, texts = [question_ids[i] for i in indices], [read[i] for i in indices]
            rows = sample_batch(model, tokenizer, ids, texts, decoding)
            write_json(part, {"samples": [[asdict(sample) for sample in row] for row in rows]})
        for index, row in zip(indices, read_json(part)["samples"], strict=True):
            found[index] = [Sample(**sample) for sample in row]
    return found


def sample_batch(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", question_ids: Sequence[str], prompts: Sequence[str],
    decoding: Decoding,
) -> list[list[Sample]]:
    """`decoding.n` samples of each prompt, which the model reads as it stands, in the order of the prompts.

    The prompts run through the model once. After that the n samples of a prompt are n positions of one row: a mask lets
    each see the prompt and its own tokens, so that they share the prompt's KV cache instead of copying it.
    The draw of a token depends on (seed, question_id, sample, step) alone.
    """
    import torch

    with torch.inference_mode():
        state = _Rows(model, tokenizer, prompts, decoding, _uniforms(question_ids, decoding))
        while state.step():
            pass
    return state.samples(tokenizer)


def _uniforms(question_ids: Sequence[str], decoding: Decoding) -> np.ndarray:
    """Uniform numbers (prompts, n, max_tokens) in [0, 1), one generator a sample."""
    return np.stack([
        np.stack([
            np.random.default_rng([decoding.seed, sample, *question_id.encode()]).random(decoding.max_tokens)
            for sample in range(decoding.n)
        ])
        for question_id in question_ids
    ])


class _Rows:
    """The rows still being decoded, with the cache they share, and the tokens drawn so far."""

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[str],
        decoding: Decoding, uniforms: np.ndarray,
    ) -> None:
        import torch

        self.model, self.decoding = model, decoding
        self.end = int(tokenizer.eos_token_id)
        self.uniforms = torch.from_numpy(uniforms).to(model.device)
        shape = (len(prompts), decoding.n)
        self.tokens = torch.full((*shape, decoding.max_tokens), self.end, device=model.device)
        self.counts = torch.zeros(shape, dtype=torch.long, device=model.device)
        self.logprobs = torch.zeros(shape, dtype=torch.float64, device=model.device)
        self.ended = torch.zeros(shape, dtype=torch.bool, device=model.device)
        self.alive = torch.arange(len(prompts), device=model.device)  # the rows that the cache still holds
        self.time = 0
        batch = tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left").to(model.device)
        self.prefix = batch["attention_mask"].bool()
        positions = (batch["attention_mask"].cumsum(dim=-1) - 1).clamp(min=0)
        self.lengths = positions[:, -1:] + 1
        output = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], position_ids=positions,
            use_cache=True, logits_to_keep=1,
        )
        self.cache = output.past_key_values
        self._draw(output.logits.expand(-1, decoding.n, -1))

    def step(self) -> bool:
        """Draws one more token for every sample that has not ended; False when there is none."""
        if self.time == self.decoding.max_tokens or not self._drop_ended_rows():
            return False
        last = self.tokens[self.alive, :, self.time - 1]
        output = self.model(
            input_ids=last, attention_mask=self._mask(), past_key_values=self.cache, use_cache=True,
            position_ids=(self.lengths + self.time - 1).expand(-1, self.decoding.n),
        )
        self._draw(output.logits)
        return True

    def _drop_ended_rows(self) -> bool:
        """Takes rows whose samples have all ended out of the batch, once they are a tenth of it."""
        going = ~self.ended[self.alive].all(dim=1)
        if not going.any():
            return False
        if going.sum() <= 0.9 * len(going):
            kept = going.nonzero()[:, 0]
            self.alive, self.prefix, self.lengths = self.alive[kept], self.prefix[kept], self.lengths[kept]
            self.cache.batch_select_indices(kept)
        return True

    def _mask(self) -> "torch.Tensor":
        """(rows, 1, n, keys): sample i sees the prompt and every n-th key after it, starting at its own."""
        import torch

        rows, n = len(self.alive), self.decoding.n
        own = torch.eye(n, dtype=torch.bool, device=self.prefix.device).repeat(1, self.time)
        prefix = self.prefix[:, None, None, :].expand(-1, 1, n, -1)
        return torch.cat([prefix, own[None, None].expand(rows, 1, -1, -1)], dim=-1)

    def _draw(self, logits: "torch.Tensor") -> None:
        """Draws the next token of each sample that goes on, from the logits (rows, n, vocabulary)."""
        row, sample = (~self.ended[self.alive]).nonzero(as_tuple=True)
        where = (self.alive[row], sample)
        logprobs = logits[row, sample].float().log_softmax(dim=-1)
        chosen = _choose(logprobs, self.uniforms[(*where, self.time)], self.decoding)
        self.tokens[(*where, self.time)] = chosen
        self.counts[where] += 1
        self.logprobs[where] += logprobs.gather(-1, chosen[:, None])[:, 0].double()
        self.ended[where] = chosen == self.end
        self.time += 1

    def samples(self, tokenizer: "PreTrainedTokenizerBase") -> list[list[Sample]]:
        """The samples of each prompt; the logprob rounded to 6 decimals."""
        return [
            [
                Sample(
                    completion=str(tokenizer.decode(tokens[: count - ended])),
                    finish_reason="stop" if ended else "length",
                    tokens=count,
                    logprob=round(logprob, 6),
                )
                for tokens, count, ended, logprob in zip(*row, strict=True)
            ]
            for row in zip(
                self.tokens.tolist(), self.counts.tolist(), self.ended.tolist(), self.logprobs.tolist(), strict=True
            )
        ]


def _choose(logprobs: "torch.Tensor", uniforms: "torch.Tensor", decoding: Decoding) -> "torch.Tensor":
    """The drawn token of each sample: argmax where the temperature is 0, else the inverse of the cumulated nucleus."""
    import torch

    if decoding.temperature == 0:
        return logprobs.argmax(dim=-1)
    cool = logprobs if decoding.temperature == 1 else (logprobs / decoding.temperature).log_softmax(dim=-1)
    probabilities = cool.exp()
    order = None
    if decoding.top_p < 1:
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = probabilities.cumsum(dim=-1) - probabilities
        probabilities = probabilities.where(before < decoding.top_p, 0.0)
    cumulated = probabilities.cumsum(dim=-1)
    drawn = torch.searchsorted(cumulated, uniforms[:, None].float() * cumulated[:, -1:], right=True)
    drawn = drawn.clamp(max=logprobs.shape[-1] - 1)  # for a draw that rounding puts past the last token
    return (drawn if order is None else order.gather(-1, drawn))[:, 0]
