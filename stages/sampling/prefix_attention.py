"""Attention of many samples that begin alike: the keys and values of a shared beginning are kept once.

What the model reads is one row of tokens, whichever samples they are of: no padding, and every linear layer sees all of
them as one matrix. Only attention tells them apart. A token sees its prefix of each `Prefixes` and the earlier tokens
of its own sample (`Own`); the scores of all of them go through one softmax. The queries of all tokens that see a prefix
are one matrix, so that its keys and values are read once for all of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    import torch

NAME = "sense_shared"
"""Of this attention, in transformers."""


class Prefixes:
    """Prefixes of so many tokens (`lengths`), and for each token of the row the number of the one it sees (`of`,
    ascending).

    They are `reading` when the row holds their own tokens, of which each sees those up to itself.
    """

    def __init__(self, of: np.ndarray, lengths: np.ndarray, device: "torch.device", reading: bool = False) -> None:
        self.of, self.lengths, self.device, self.reading = of, lengths, device, reading
        self.keys: list[torch.Tensor] = []  # of each layer: (prefixes, heads, tokens, size)
        self.values: list[torch.Tensor] = []
        counts = np.bincount(of, minlength=len(lengths))
        slots = np.arange(len(of)) - (np.cumsum(counts) - counts)[of]
        rows = np.zeros((len(lengths), counts.max()), dtype=np.int64)
        rows[of, slots] = np.arange(len(of))
        last = np.arange(rows.shape[1])[None, :, None] if reading else lengths[:, None, None] - 1
        hidden = np.arange(lengths.max())[None, None] > last
        bias = np.where(hidden, -np.inf, 0).astype(np.float32)[:, None, :, None]
        self._rows = self._there(rows)  # of each prefix: the tokens that see it, filled up with token 0
        self._at = self._there(of), self._there(slots)  # of each token: where in `_rows` it stands
        self._bias = self._there(bias) if hidden.any() else None

    def _there(self, array: np.ndarray) -> "torch.Tensor":
        import torch

        return torch.from_numpy(array).to(self.device)

    def seen_by(self, of: np.ndarray) -> "Prefixes":
        """The same prefixes for other tokens; those that none of them sees are left out."""
        numbers = np.unique(of)
        found = Prefixes(np.searchsorted(numbers, of), self.lengths[numbers], self.device)
        next_to_each_other = len(numbers) == numbers[-1] - numbers[0] + 1
        index = slice(numbers[0], numbers[-1] + 1) if next_to_each_other else self._there(numbers)
        longest = found.lengths.max()
        found.keys = [keys[index, :, :longest] for keys in self.keys]
        found.values = [values[index, :, :longest] for values in self.values]
        return found

    @classmethod
    def joined(cls, parts: "Sequence[Prefixes]") -> Self:
        """All prefixes that were read in these parts, each seen by one token."""
        import torch
        from torch.nn.functional import pad

        lengths = np.concatenate([part.lengths for part in parts])
        made = cls(np.arange(len(lengths)), lengths, parts[0].device)
        longest = int(lengths.max())

        def join(layers: Sequence[torch.Tensor]) -> torch.Tensor:
            return torch.cat([pad(layer, (0, 0, 0, longest - layer.shape[2])) for layer in layers])

        made.keys = [join(layers) for layers in zip(*(part.keys for part in parts), strict=True)]
        made.values = [join(layers) for layers in zip(*(part.values for part in parts), strict=True)]
        return made

    def read(self, layer: int, keys: "torch.Tensor", values: "torch.Tensor") -> None:
        """Takes its own keys and values from those (tokens, heads, size) of the row."""
        if self.reading:
            self.keys.append(keys[self._rows].transpose(1, 2).contiguous())
            self.values.append(values[self._rows].transpose(1, 2).contiguous())

    def scores(self, layer: int, queries: "torch.Tensor") -> "torch.Tensor":
        """(tokens, heads, repeats, keys), of queries (tokens, heads, repeats, size)."""
        return self._together(queries, self.keys[layer].transpose(2, 3), self._bias)

    def mixed(self, layer: int, weights: "torch.Tensor") -> "torch.Tensor":
        """The values (tokens, heads, repeats, size), mixed by weights (tokens, heads, repeats, keys)."""
        return self._together(weights, self.values[layer], None)

    def _together(self, left: "torch.Tensor", right: "torch.Tensor", bias: "torch.Tensor | None") -> "torch.Tensor":
        """Each token's rows of `left` times its prefix's matrix of `right`."""
        prefixes, most = self._rows.shape
        heads, repeats, width = left.shape[1:]
        rows = left[self._rows].transpose(1, 2).reshape(prefixes, heads, most * repeats, width)
        product = (rows @ right).view(prefixes, heads, most, repeats, right.shape[3])
        if bias is not None:
            product += bias
        return product.transpose(1, 2)[self._at]


class Own:
    """The tokens of each sample, read one at a time: the row holds the next token of each."""

    def __init__(self, most: int) -> None:
        self.most, self.time = most, 0
        self.keys: list[torch.Tensor] = []  # of each layer: (samples, heads, room for tokens, size)
        self.values: list[torch.Tensor] = []

    def keep(self, index: "torch.Tensor") -> None:
        """Forgets all samples but these."""
        self.keys = [keys[index] for keys in self.keys]
        self.values = [values[index] for values in self.values]

    def read(self, layer: int, keys: "torch.Tensor", values: "torch.Tensor") -> None:
        for kept, new in ((self.keys, keys), (self.values, values)):
            if layer == len(kept):
                kept.append(new.new_empty((*new.shape[:2], min(16, self.most), new.shape[2])))
            elif self.time == kept[layer].shape[2]:
                kept[layer] = _longer(kept[layer], min(self.time, self.most - self.time))
            kept[layer][:, :, self.time] = new

    def scores(self, layer: int, queries: "torch.Tensor") -> "torch.Tensor":
        return queries @ self.keys[layer][:, :, : self.time + 1].transpose(2, 3)

    def mixed(self, layer: int, weights: "torch.Tensor") -> "torch.Tensor":
        return weights @ self.values[layer][:, :, : self.time + 1]


def _longer(kept: "torch.Tensor", more: int) -> "torch.Tensor":
    from torch.nn.functional import pad

    return pad(kept, (0, 0, 0, more))


def attend(
    module: Any, query: "torch.Tensor", key: "torch.Tensor", value: "torch.Tensor", attention_mask: None,
    scaling: float, parts: "Sequence[Prefixes | Own]", **_: Any,
) -> "tuple[torch.Tensor, None]":
    """transformers' interface: attention of one row of tokens, (1, heads, tokens, size) each, to the `parts`."""
    import torch

    keys, values = key[0].transpose(0, 1), value[0].transpose(0, 1)
    queries = (query[0] * scaling).transpose(0, 1).unflatten(1, (keys.shape[1], -1))  # heads that share keys together
    layer = module.layer_idx
    for part in parts:
        part.read(layer, keys, values)
    scores = [part.scores(layer, queries) for part in parts]
    weights = torch.cat(scores, dim=-1).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    split = weights.split([one.shape[-1] for one in scores], dim=-1)
    mixed = [part.mixed(layer, some) for part, some in zip(parts, split, strict=True)]
    return torch.stack(mixed).sum(0).flatten(1, 2)[None], None
