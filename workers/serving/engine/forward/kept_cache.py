"""Keys and values that a message's last pass has computed, kept for its next one.

Knows nothing of models, prompts or verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class PrefixCache:
    """The keys and values of a prompt's first tokens, shared by every message.

    `keys` and `values` have one tensor of shape (key heads, tokens, head size) per layer; `tokens` may be 0.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    tokens: int


class KeptCache:
    """The keys and values of a few rows' own tokens, without the prefix.

    `keys` and `values` have one tensor of shape (rows, key heads, capacity, head size) per layer. Which positions of a
    row are filled is for the caller to know; what lies beyond is never looked at.
    """

    def __init__(self, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
        self.keys = list(keys)
        self.values = list(values)

    @property
    def capacity(self) -> int:
        """Places per row."""
        return int(self.keys[0].shape[2])

    def first(self, rows: int) -> "KeptCache":
        """The first rows, in the memory of all."""
        return KeptCache([keys[:rows] for keys in self.keys], [values[:rows] for values in self.values])

    def selected(self, rows: Sequence[int]) -> "KeptCache":
        """A copy of some rows, which lets the memory of the others go."""
        index, device = torch.tensor(rows), self.keys[0].device
        if device.type != "cpu":
            index = index.pin_memory().to(device, non_blocking=True)
        return KeptCache([k.index_select(0, index) for k in self.keys], [v.index_select(0, index) for v in self.values])

    def enlarged(self, capacity: int) -> "KeptCache":
        """The same rows with room for `capacity` positions, new ones zero; itself if there is that much."""
        room = capacity - self.capacity
        if room <= 0:
            return self
        pad = torch.nn.functional.pad
        return KeptCache([pad(k, (0, 0, 0, room)) for k in self.keys], [pad(v, (0, 0, 0, room)) for v in self.values])

    def keep(self, layer: int, positions: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep new tokens' keys and values at `positions`, of shape (rows or 1, new tokens).

        They have shape (rows times new tokens, key heads, head size). What comes to an empty cache becomes its content.
        """
        keys, values = (new.unflatten(0, (-1, positions.shape[1])).transpose(1, 2) for new in (keys, values))
        if layer == len(self.keys):
            self.keys.append(keys)
            self.values.append(values)
        else:
            index = positions[:, None, :, None].expand_as(keys)
            self.keys[layer].scatter_(2, index, keys)
            self.values[layer].scatter_(2, index, values)

    def of_rows(self, layer: int, lengths: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each row's first `lengths` keys and values, of shape (key heads, length, head size)."""
        keys, values = self.keys[layer], self.values[layer]
        return [(keys[row, :, :length], values[row, :, :length]) for row, length in enumerate(lengths)]

    @staticmethod
    def joined(caches: Sequence["KeptCache"]) -> "KeptCache":
        """The rows of all, in order, with the room of the largest."""
        if len(caches) == 1:
            return caches[0]
        capacity = max(cache.capacity for cache in caches)
        alike = [cache.enlarged(capacity) for cache in caches]
        layers = range(len(alike[0].keys))
        return KeptCache(
            [torch.cat([cache.keys[layer] for cache in alike]) for layer in layers],
            [torch.cat([cache.values[layer] for cache in alike]) for layer in layers],
        )


class PackedCache(KeptCache):
    """The same of rows of `lengths` tokens, one behind the other: tensors of shape (tokens, key heads, head size).

    They lie in `places`, one tensor of shape (2, tokens or more, key heads, head size) per layer, which are made where
    they are missing and used again by the next pass: fresh memory would cost more than the copy. So it is read only,
    and until the next pass; `selected` makes one that later passes can write into.
    """

    def __init__(self, lengths: Sequence[int], capacity: int, places: list[torch.Tensor]) -> None:
        super().__init__([], [])
        self._lengths = list(lengths)
        self._capacity = capacity
        self._places = places

    @property
    def capacity(self) -> int:
        """Places per row that `selected` makes."""
        return self._capacity

    def first(self, rows: int) -> KeptCache:
        """A copy of the first rows."""
        return self.selected(range(rows))

    def selected(self, rows: Sequence[int]) -> KeptCache:
        """A copy of some rows."""
        starts = torch.tensor([sum(self._lengths[:row]) for row in rows])[:, None]
        lasts = torch.tensor([self._lengths[row] - 1 for row in rows])[:, None]
        index = starts + torch.arange(self.capacity).minimum(lasts)
        return KeptCache([k[index].transpose(1, 2) for k in self.keys], [v[index].transpose(1, 2) for v in self.values])

    def keep(self, layer: int, positions: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Take the next layer's."""
        del positions
        if layer == len(self._places):
            self._places.append(keys.new_empty(2, *keys.shape))
        if self._places[layer].shape[1] < len(keys):
            self._places[layer] = keys.new_empty(2, *keys.shape)
        kept = self._places[layer][:, : len(keys)]
        for place, new, of_all in zip(kept, (keys, values), (self.keys, self.values), strict=True):
            of_all.append(place.copy_(new))

    def of_rows(self, layer: int, lengths: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each row's keys and values, of shape (key heads, length, head size)."""
        both = (new[layer].split(list(lengths)) for new in (self.keys, self.values))
        return [(keys.transpose(0, 1), values.transpose(0, 1)) for keys, values in zip(*both, strict=True)]
