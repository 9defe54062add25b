"""Attention for many samples with common prefixes: keys and values of a prefix are stored once.

The model reads one row of tokens that belong to any number of samples: there is no padding, and every linear layer sees
one matrix. Only attention separates the samples. A token attends to its prefix in each `Prefixes` and to the earlier
tokens of its own sample (`OwnTokens`), with one softmax over all scores. The queries of all tokens with the same prefix
form one matrix, so that the keys and values of the prefix are read once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    import torch

NAME = "sense_shared"
"""The name of this attention in transformers."""


class Prefixes:
    """Keys and values of prefixes.

    `prefix_of`: the prefix that each token of the row attends to, ascending. `lengths`: the tokens of each prefix.
    `prefill`: the row holds the tokens of the prefixes themselves, each of which attends to those up to itself.
    """

    def __init__(
        self, prefix_of: np.ndarray, lengths: np.ndarray, device: "torch.device", prefill: bool = False
    ) -> None:
        self.prefix_of, self.lengths, self.device, self.prefill = prefix_of, lengths, device, prefill
        self.keys: list[torch.Tensor] = []  # of each layer: (prefixes, heads, tokens, size)
        self.values: list[torch.Tensor] = []
        counts = np.bincount(prefix_of, minlength=len(lengths))
        columns = np.arange(len(prefix_of)) - (np.cumsum(counts) - counts)[prefix_of]
        tokens_of = np.zeros((len(lengths), counts.max()), dtype=np.int64)
        tokens_of[prefix_of, columns] = np.arange(len(prefix_of))
        last = np.arange(tokens_of.shape[1])[None, :, None] if prefill else lengths[:, None, None] - 1
        hidden = np.arange(lengths.max())[None, None] > last
        bias = np.where(hidden, -np.inf, 0).astype(np.float32)[:, None, :, None]
        self._tokens_of = self._to_device(tokens_of)  # the tokens with each prefix, padded with token 0
        self._place_of = self._to_device(prefix_of), self._to_device(columns)  # where each token is in `_tokens_of`
        self._bias = self._to_device(bias) if hidden.any() else None

    def _to_device(self, array: np.ndarray) -> "torch.Tensor":
        import torch

        return torch.from_numpy(array).to(self.device)

    def select(self, prefix_of: np.ndarray) -> "Prefixes":
        """The same prefixes for another row of tokens, without the prefixes that none of them attends to."""
        used = np.unique(prefix_of)
        selected = Prefixes(np.searchsorted(used, prefix_of), self.lengths[used], self.device)
        is_contiguous = len(used) == used[-1] - used[0] + 1
        index = slice(used[0], used[-1] + 1) if is_contiguous else self._to_device(used)
        longest = selected.lengths.max()
        selected.keys = [keys[index, :, :longest] for keys in self.keys]
        selected.values = [values[index, :, :longest] for values in self.values]
        return selected

    @classmethod
    def concatenate(cls, parts: "Sequence[Prefixes]") -> Self:
        """The prefilled prefixes of all parts, for a row of one token each."""
        import torch
        from torch.nn.functional import pad

        lengths = np.concatenate([part.lengths for part in parts])
        result = cls(np.arange(len(lengths)), lengths, parts[0].device)
        longest = int(lengths.max())

        def join(layers: Sequence[torch.Tensor]) -> torch.Tensor:
            return torch.cat([pad(layer, (0, 0, 0, longest - layer.shape[2])) for layer in layers])

        result.keys = [join(layers) for layers in zip(*(part.keys for part in parts), strict=True)]
        result.values = [join(layers) for layers in zip(*(part.values for part in parts), strict=True)]
        return result

    def store(self, layer: int, keys: "torch.Tensor", values: "torch.Tensor") -> None:
        """Stores the keys and values (tokens, heads, size) of a row that prefills."""
        if self.prefill:
            self.keys.append(keys[self._tokens_of].transpose(1, 2).contiguous())
            self.values.append(values[self._tokens_of].transpose(1, 2).contiguous())

    def scores(self, layer: int, queries: "torch.Tensor") -> "torch.Tensor":
        """(tokens, heads, repeats, keys), from queries (tokens, heads, repeats, size)."""
        return self._multiply(queries, self.keys[layer].transpose(2, 3), self._bias)

    def weighted_values(self, layer: int, weights: "torch.Tensor") -> "torch.Tensor":
        """(tokens, heads, repeats, size), from weights (tokens, heads, repeats, keys)."""
        return self._multiply(weights, self.values[layer], None)

    def _multiply(self, left: "torch.Tensor", right: "torch.Tensor", bias: "torch.Tensor | None") -> "torch.Tensor":
        """Multiplies the matrix of each token in `left` by the matrix of its prefix in `right`."""
        prefixes, most = self._tokens_of.shape
        heads, repeats, width = left.shape[1:]
        rows = left[self._tokens_of].transpose(1, 2).reshape(prefixes, heads, most * repeats, width)
        product = (rows @ right).view(prefixes, heads, most, repeats, right.shape[3])
        if bias is not None:
            product += bias
        return product.transpose(1, 2)[self._place_of]


class OwnTokens:
    """Keys and values of the tokens that each sample has decoded; the row holds the next token of each sample."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens, self.step = max_tokens, 0
        self.keys: list[torch.Tensor] = []  # of each layer: (samples, heads, capacity in tokens, size)
        self.values: list[torch.Tensor] = []

    def select(self, index: "torch.Tensor") -> None:
        """Drops all samples but these."""
        self.keys = [keys[index] for keys in self.keys]
        self.values = [values[index] for values in self.values]

    def store(self, layer: int, keys: "torch.Tensor", values: "torch.Tensor") -> None:
        from torch.nn.functional import pad

        for stored, new in ((self.keys, keys), (self.values, values)):
            if layer == len(stored):
                stored.append(new.new_empty((*new.shape[:2], min(16, self.max_tokens), new.shape[2])))
            elif self.step == stored[layer].shape[2]:
                stored[layer] = pad(stored[layer], (0, 0, 0, min(self.step, self.max_tokens - self.step)))
            stored[layer][:, :, self.step] = new

    def scores(self, layer: int, queries: "torch.Tensor") -> "torch.Tensor":
        return queries @ self.keys[layer][:, :, : self.step + 1].transpose(2, 3)

    def weighted_values(self, layer: int, weights: "torch.Tensor") -> "torch.Tensor":
        return weights @ self.values[layer][:, :, : self.step + 1]


def attend(
    module: Any, query: "torch.Tensor", key: "torch.Tensor", value: "torch.Tensor", attention_mask: None,
    scaling: float, parts: "Sequence[Prefixes | OwnTokens]", **_: Any,
) -> "tuple[torch.Tensor, None]":  # fmt: skip
    """The attention of one row of tokens, (1, heads, tokens, size) each, to the `parts`; transformers' interface."""
    import torch

    keys, values = key[0].transpose(0, 1), value[0].transpose(0, 1)
    queries = (query[0] * scaling).transpose(0, 1).unflatten(1, (keys.shape[1], -1))  # heads that share keys together
    layer = module.layer_idx
    for part in parts:
        part.store(layer, keys, values)
    scores = [part.scores(layer, queries) for part in parts]
    weights = torch.cat(scores, dim=-1).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights_of = weights.split([part_scores.shape[-1] for part_scores in scores], dim=-1)
    outputs = [part.weighted_values(layer, own) for part, own in zip(parts, weights_of, strict=True)]
    return torch.stack(outputs).sum(0).flatten(1, 2)[None], None
