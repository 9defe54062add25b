"""Prefills prompts and decodes samples of them, with prefix attention."""

from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING

import numpy as np

from stages.lm.completions import Decoding
from stages.sampling.prefix_attention import OwnTokens, Prefixes
from stages.sampling.token_sampling import sample_tokens

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_MAX_SCORES = 2**22  # attention scores of one head that are held at once during prefill
_MAX_ENDED = 0.1  # the fraction of ended samples above which they leave the batch


class PrefilledPrompts:
    """Prompts that the model has read: the common prefix of each group once, then the rest of each prompt.

    `logits` (prompts, vocabulary): of the token after each prompt. `lengths`: the tokens of each prompt.
    """

    def __init__(self, model: "PreTrainedModel", prompts: Sequence[list[int]], groups: Sequence[str]) -> None:
        """`prompts`: token ids; prompts of one group are adjacent."""
        import torch

        prefixes: list[list[int]] = []
        prefix_of: list[int] = []
        for _, members in groupby(zip(groups, prompts, strict=True), key=lambda member: member[0]):
            group = [ids[:-1] for _, ids in members]  # at least the last token is left for the rest
            prefix_of += [len(prefixes)] * len(group)
            prefixes.append(_common_prefix(group))
        self.model, self.prefix_of = model, np.array(prefix_of)
        self.lengths = np.array([len(ids) for ids in prompts])
        rests = [ids[len(prefixes[number]) :] for number, ids in zip(prefix_of, prompts, strict=True)]
        self.shared: list[Prefixes] = []  # one, or none if no group has a common prefix
        if any(prefixes):
            pieces = _split([len(prefix) ** 2 for prefix in prefixes])
            self.shared.append(Prefixes.concatenate([self._prefill(prefixes[piece])[0] for piece in pieces]))
        pieces = _split([len(rest) * len(ids) for rest, ids in zip(rests, prompts, strict=True)])
        prefilled = [self._prefill(rests[piece], self.prefix_of[piece]) for piece in pieces]
        self.rests = Prefixes.concatenate([rest for rest, _ in prefilled])
        self.logits = torch.cat([logits for _, logits in prefilled])

    def _prefill(
        self, texts: Sequence[list[int]], prefix_of: np.ndarray | None = None
    ) -> "tuple[Prefixes, torch.Tensor]":
        """Reads the starts of prompts, or texts that continue the shared prefixes `prefix_of`.

        Returns their keys and values, and the logits of the token after each text.
        """
        import torch

        lengths = np.array([len(ids) for ids in texts])
        own = Prefixes(np.arange(len(texts)).repeat(lengths), lengths, self.model.device, prefill=True)
        before = [] if prefix_of is None else [shared.select(prefix_of.repeat(lengths)) for shared in self.shared]
        starts = self.shared[0].lengths[prefix_of] if before else np.zeros_like(lengths)
        spans = [np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        positions, last = torch.from_numpy(np.concatenate(spans)), torch.from_numpy(lengths.cumsum() - 1)
        return own, forward(self.model, torch.tensor(list(chain(*texts))), positions, [*before, own], last)

    def parts(self, prompt_of: np.ndarray) -> list[Prefixes]:
        """What the samples of these prompts attend to."""
        return [*(shared.select(self.prefix_of[prompt_of]) for shared in self.shared), self.rests.select(prompt_of)]


def _common_prefix(texts: Sequence[list[int]]) -> list[int]:
    """The common prefix of the smallest and the largest text, and so of all."""
    first, last = min(texts), max(texts)
    differences = (at for at, (left, right) in enumerate(zip(first, last, strict=False)) if left != right)
    return first[: next(differences, len(first))]


def _split(costs: Sequence[int]) -> Iterator[slice]:
    """Slices that cost at most `_MAX_SCORES` each, or hold one item. An item without cost joins those before it."""
    start = total = 0
    for at, cost in enumerate(costs):
        if cost and total and total + cost > _MAX_SCORES:
            yield slice(start, at)
            start, total = at, 0
        total += cost
    yield slice(start, len(costs))


def forward(
    model: "PreTrainedModel", tokens: "torch.Tensor", positions: "torch.Tensor",
    parts: "Sequence[Prefixes | OwnTokens]", logits_at: "torch.Tensor | int" = 0,
) -> "torch.Tensor":  # fmt: skip
    """Runs the model on a row of tokens. Returns logits (tokens, vocabulary): all, or those at indices `logits_at`."""
    tokens, positions = tokens[None].to(model.device), positions[None].to(model.device)
    output = model(input_ids=tokens, position_ids=positions, use_cache=False, logits_to_keep=logits_at, parts=parts)
    logits: torch.Tensor = output.logits[0]
    return logits


def decode(
    prompts: PrefilledPrompts, uniform_numbers: np.ndarray, decoding: Decoding, end_token: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Samples completions. Returns tokens and their log-probabilities, both (samples, decoding.max_tokens).

    `uniform_numbers` (samples, decoding.max_tokens): one for each token. Every prompt has equally many samples, which
    are adjacent. Whatever follows `end_token` is to be ignored.
    """
    import torch

    device, shape = prompts.model.device, uniform_numbers.shape
    prompt_of = np.arange(len(prompts.lengths)).repeat(len(uniform_numbers) // len(prompts.lengths))
    uniform = torch.from_numpy(uniform_numbers).to(device)
    tokens = torch.full(shape, end_token, device=device)
    logprobs = torch.zeros(shape, device=device)
    active = torch.arange(len(uniform_numbers), device=device)
    ended = torch.zeros(len(uniform_numbers), dtype=torch.bool, device=device)
    positions = torch.from_numpy(prompts.lengths[prompt_of]).to(device)
    parts, own = prompts.parts(prompt_of), OwnTokens(decoding.max_tokens)
    logits = prompts.logits[torch.from_numpy(prompt_of).to(device)]
    for step in range(decoding.max_tokens):
        chosen, logprob = sample_tokens(logits, uniform[active, step], decoding.temperature, decoding.top_p)
        tokens[active, step], logprobs[active, step] = chosen, logprob
        ended |= chosen == end_token
        ended_count = int(ended.sum())
        if ended_count == len(active) or step + 1 == decoding.max_tokens:
            break
        if ended_count > _MAX_ENDED * len(active):
            remaining = (~ended).nonzero()[:, 0]
            active, ended, chosen = active[remaining], ended[remaining], chosen[remaining]
            parts = [part.select(part.prefix_of[remaining.cpu().numpy()]) for part in parts]
            own.select(remaining)
        logits = forward(prompts.model, chosen, positions[active] + step, [*parts, own])
        own.step += 1
    return tokens, logprobs
