"""Samples tokens by inverting the cumulative distribution at a uniform number of each completion's own."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def uniform_numbers(seed: int, question_id: str, sample: int, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1) that depend on nothing else; a higher count only appends to them."""
    return np.random.default_rng([seed, sample, *question_id.encode()]).random(count)


def sample_tokens(
    logits: "torch.Tensor", uniform: "torch.Tensor", temperature: float, top_p: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Samples a token from each row of logits (rows, vocabulary), at its `uniform` number (rows).

    Returns the tokens (rows) and their log-probabilities (rows) at temperature 1. At temperature 0 the token is the
    most likely one; otherwise the first whose cumulative probability exceeds the uniform number. Tokens are cumulated
    in the order of the vocabulary, or with top_p below 1 by decreasing probability, among the nucleus: the fewest
    tokens that have at least this probability together.
    """
    logits = logits.float()
    if temperature == 0:
        tokens = logits.argmax(dim=-1)
    elif top_p < 1:
        tokens = _sample_nucleus((logits / temperature).softmax(dim=-1), uniform, top_p)
    else:
        scaled = logits if temperature == 1 else logits / temperature
        probabilities = scaled.softmax(dim=-1)
        tokens = _sample_vocabulary(probabilities, uniform)
        if temperature == 1:
            return tokens, probabilities.gather(-1, tokens[:, None])[:, 0].log()
    return tokens, logits.log_softmax(dim=-1).gather(-1, tokens[:, None])[:, 0]


def _sample_nucleus(probabilities: "torch.Tensor", uniform: "torch.Tensor", top_p: float) -> "torch.Tensor":
    decreasing, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = decreasing.cumsum(dim=-1) - decreasing
    rank, _ = _invert_cdf(decreasing.where(before < top_p, 0.0), uniform)
    return order.gather(-1, rank[:, None])[:, 0]


def _sample_vocabulary(probabilities: "torch.Tensor", uniform: "torch.Tensor") -> "torch.Tensor":
    """Samples a block of tokens, then a token in it: cumulating the whole vocabulary takes three times as long."""
    import torch

    size = int(probabilities.shape[1] ** 0.5)
    in_blocks = probabilities.shape[1] // size * size
    blocks = probabilities[:, :in_blocks].unflatten(1, (-1, size)).sum(dim=-1)
    rest = probabilities[:, in_blocks:].sum(dim=-1, keepdim=True)
    block, uniform = _invert_cdf(torch.cat([blocks, rest], dim=-1), uniform)
    tokens = block[:, None] * size + torch.arange(size, device=block.device)
    exists = tokens < probabilities.shape[1]
    of_block = probabilities.gather(-1, tokens.clamp(max=probabilities.shape[1] - 1)).where(exists, 0.0)
    return block * size + _invert_cdf(of_block, uniform)[0]


def _invert_cdf(weights: "torch.Tensor", uniform: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """The first index of each row whose cumulative weight exceeds the uniform number's share of the row's total.

    Also returns how far into that index's weight the number falls, which is uniform in [0, 1) again. An index of weight
    0 is never returned.
    """
    import torch

    weights = weights.double()
    cumulative = weights.cumsum(dim=-1)
    total = cumulative[:, -1:]
    target = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    index = torch.searchsorted(cumulative, target, right=True)
    weight = weights.gather(-1, index)
    fraction = (target - cumulative.gather(-1, index) + weight) / weight
    return index[:, 0], fraction[:, 0].clamp(min=0)
