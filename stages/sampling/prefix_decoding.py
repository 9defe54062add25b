"""Reading prompts and decoding samples of them, with shared attention."""

from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING

import numpy as np

from stages.lm.completions import Decoding
from stages.sampling.prefix_attention import Own, Prefixes
from stages.sampling.token_sampling import draw

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_PIECE = 2**22  # scores a head that are there at once while prompts are read
_ENDED = 0.1  # the share of samples that have ended at which they leave the batch


class Prompts:
    """Prompts that a model has read: what those of a group have in common once, then the rest of each.

    `logits`: of the token after each prompt. `tokens_read`: how many the model had to read.
    """

    def __init__(self, model: "PreTrainedModel", read: Sequence[list[int]], groups: Sequence[str]) -> None:
        """`read`: the tokens of each prompt, those of a group next to each other."""
        import torch

        commons: list[list[int]] = []
        of: list[int] = []
        for _, members in groupby(zip(groups, read, strict=True), key=lambda member: member[0]):
            group = [ids[:-1] for _, ids in members]  # the last token is left to read
            of += [len(commons)] * len(group)
            commons.append(_common(group))
        self.model, self.of, self.lengths = model, np.array(of), np.array([len(ids) for ids in read])
        rests = [ids[len(commons[number]) :] for number, ids in zip(of, read, strict=True)]
        self.tokens_read = sum(map(len, commons)) + sum(map(len, rests))
        self.shared: list[Prefixes] = []  # one or none
        if any(commons):
            pieces = _pieces([len(common) ** 2 for common in commons])
            self.shared.append(Prefixes.joined([self._read(commons[piece])[0] for piece in pieces]))
        pieces = _pieces([len(rest) * len(ids) for rest, ids in zip(rests, read, strict=True)])
        found = [self._read(rests[piece], self.of[piece]) for piece in pieces]
        self.rests = Prefixes.joined([prefixes for prefixes, _ in found])
        self.logits = torch.cat([logits for _, logits in found])

    def _read(self, texts: Sequence[list[int]], after: np.ndarray | None = None) -> "tuple[Prefixes, torch.Tensor]":
        """Reads texts that begin a prompt, or go on `after` the shared prefixes of these numbers, and the logits of the
        token after each."""
        import torch

        lengths = np.array([len(ids) for ids in texts])
        own = Prefixes(np.arange(len(texts)).repeat(lengths), lengths, self.model.device, reading=True)
        seen = [] if after is None else [shared.seen_by(after.repeat(lengths)) for shared in self.shared]
        starts = self.shared[0].lengths[after] if seen else np.zeros_like(lengths)
        spans = [np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        positions, last = torch.from_numpy(np.concatenate(spans)), torch.from_numpy(lengths.cumsum() - 1)
        return own, run(self.model, torch.tensor(list(chain(*texts))), positions, [*seen, own], last)

    def parts(self, question: np.ndarray) -> list[Prefixes]:
        """What samples of these questions see."""
        return [*(shared.seen_by(self.of[question]) for shared in self.shared), self.rests.seen_by(question)]


def _common(texts: Sequence[list[int]]) -> list[int]:
    """What they all begin with: what the first and the last in order do."""
    first, last = min(texts), max(texts)
    unlike = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(unlike, len(first))]


def _pieces(costs: Sequence[int]) -> Iterator[slice]:
    """Parts that cost at most `_PIECE` together, or are one. What costs nothing goes with what is before it."""
    start = used = 0
    for at, cost in enumerate(costs):
        if cost and used and used + cost > _PIECE:
            yield slice(start, at)
            start, used = at, 0
        used += cost
    yield slice(start, len(costs))


def run(
    model: "PreTrainedModel", tokens: "torch.Tensor", positions: "torch.Tensor", parts: "Sequence[Prefixes | Own]",
    wanted: "torch.Tensor | int" = 0,
) -> "torch.Tensor":
    """The logits (tokens, vocabulary) after each of a row of tokens at these positions, or after those `wanted`."""
    tokens, positions = tokens[None].to(model.device), positions[None].to(model.device)
    output = model(input_ids=tokens, position_ids=positions, use_cache=False, logits_to_keep=wanted, parts=parts)
    logits: torch.Tensor = output.logits[0]
    return logits


def decode(prompts: Prompts, random: np.ndarray, decoding: Decoding, end: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Tokens and their log-probabilities (samples, decoding.max_tokens); what is behind the token `end` means nothing.

    `random`: a uniform number for each token. Every prompt has equally many samples, next to each other.
    """
    import torch

    device = prompts.model.device
    question = np.arange(len(prompts.lengths)).repeat(len(random) // len(prompts.lengths))
    uniform = torch.from_numpy(random).to(device)
    tokens = torch.full(random.shape, end, device=device)
    logprobs = torch.zeros(random.shape, device=device)
    going = torch.arange(len(random), device=device)
    ended = torch.zeros(len(random), dtype=torch.bool, device=device)
    positions = torch.from_numpy(prompts.lengths[question]).to(device)
    parts, own = prompts.parts(question), Own(decoding.max_tokens)
    logits = prompts.logits[torch.from_numpy(question).to(device)]
    for time in range(decoding.max_tokens):
        chosen, logprob = draw(logits, uniform[going, time], decoding.temperature, decoding.top_p)
        tokens[going, time], logprobs[going, time] = chosen, logprob
        ended |= chosen == end
        count = int(ended.sum())
        if count == len(going) or time + 1 == decoding.max_tokens:
            break
        if count > _ENDED * len(going):
            kept = (~ended).nonzero()[:, 0]
            going, ended, chosen = going[kept], ended[kept], chosen[kept]
            parts = [part.seen_by(part.of[kept.cpu().numpy()]) for part in parts]
            own.keep(kept)
        logits = run(prompts.model, chosen, positions[going] + time, [*parts, own])
        own.time += 1
    return tokens, logprobs
