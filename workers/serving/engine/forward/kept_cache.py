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

    def keep(
        self, layer: int, positions: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep new tokens' keys and values at `positions`, of shape (rows, new tokens); all of the layer's, afterwards.

        What comes to an empty cache becomes its content.
        """
        if layer == len(self.keys):
            self.keys.append(keys)
            self.values.append(values)
        else:
            index = positions[:, None, :, None].expand_as(keys)
            self.keys[layer].scatter_(2, index, keys)
            self.values[layer].scatter_(2, index, values)
        return self.keys[layer], self.values[layer]

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
