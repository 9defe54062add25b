"""The draw of tokens: the inverse of the cumulated probabilities, at a uniform number of the sample's own."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def uniforms(seed: int, question_id: str, sample: int, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1) that depend on nothing else; a higher count adds some."""
    return np.random.default_rng([seed, sample, *question_id.encode()]).random(count)


def draw(
    logits: "torch.Tensor", uniform: "torch.Tensor", temperature: float, top_p: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """A token of each row (rows, vocabulary) of logits, and its log-probability at temperature 1.

    The token is the most likely one where the temperature is 0. Else the first whose cumulated probability is above the
    row's uniform number: in the order of the vocabulary, or where top_p is below 1 in that of falling probability,
    among the fewest tokens of at least this probability.
    """
    logits = logits.float()
    if temperature == 0:
        chosen = logits.argmax(dim=-1)
    elif top_p < 1:
        chosen = _of_nucleus((logits / temperature).softmax(dim=-1), uniform, top_p)
    else:
        cool = logits if temperature == 1 else logits / temperature
        probabilities = cool.softmax(dim=-1)
        chosen = _of_all(probabilities, uniform)
        if temperature == 1:
            return chosen, probabilities.gather(-1, chosen[:, None])[:, 0].log()
    return chosen, logits.log_softmax(dim=-1).gather(-1, chosen[:, None])[:, 0]


def _of_nucleus(probabilities: "torch.Tensor", uniform: "torch.Tensor", top_p: float) -> "torch.Tensor":
    falling, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = falling.cumsum(dim=-1) - falling
    place, _ = _place(falling.where(before < top_p, 0.0), uniform)
    return order.gather(-1, place[:, None])[:, 0]


def _of_all(probabilities: "torch.Tensor", uniform: "torch.Tensor") -> "torch.Tensor":
    """First the block of tokens, then the token in it: cumulating all of them takes three times as long."""
    import torch

    size = int(probabilities.shape[1] ** 0.5)
    whole = probabilities.shape[1] // size * size
    blocks = probabilities[:, :whole].unflatten(1, (-1, size)).sum(dim=-1)
    rest = probabilities[:, whole:].sum(dim=-1, keepdim=True)
    block, uniform = _place(torch.cat([blocks, rest], dim=-1), uniform)
    tokens = block[:, None] * size + torch.arange(size, device=block.device)
    there = tokens < probabilities.shape[1]
    of_block = probabilities.gather(-1, tokens.clamp(max=probabilities.shape[1] - 1)).where(there, 0.0)
    return block * size + _place(of_block, uniform)[0]


def _place(weights: "torch.Tensor", uniform: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Of each row the first place whose cumulated weight is above the uniform number's share of all, and how far into
    that weight the number falls: uniform in [0, 1) again. A place of weight 0 is never it."""
    import torch

    weights = weights.double()
    cumulated = weights.cumsum(dim=-1)
    total = cumulated[:, -1:]
    wanted = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    place = torch.searchsorted(cumulated, wanted, right=True)
    weight = weights.gather(-1, place)
    into = (wanted - cumulated.gather(-1, place) + weight) / weight
    return place[:, 0], into[:, 0].clamp(min=0)
