"""Attention of a rectangle of new tokens, to keys that all rows share and to each row's own keys.

Every new token sees all of the shared keys. Knows nothing of layers, prompts or caches.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

# A row with more scores than this (1 GB at work) is left to the fused kernel, which never holds all at once.
_MOST_SCORES: Final = 2**26


class PrefixAttention:
    """Attention for one forward: `seen`, of shape (rows or 1, new tokens, own keys), says what each token may look at.

    `sizes` cuts each row to its own first (new tokens, own keys) on a CPU; elsewhere it is not looked at. `weigh` is
    `layer_pieces.weighed` or the same compiled; `groups` query heads share a key head. With `in_order`, a token of a
    row sees that row's own tokens up to itself and no others, and `seen` says just that: kernels that need no mask are
    used where there are some. torch's fused kernels are three times slower on a CPU than two plain products
    (bfloat16, 300 keys) of one row at a time, which fits into its caches; on a GPU and for long prompts they have no
    rival.
    """

    def __init__(
        self,
        seen: torch.Tensor,
        weigh: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor],
        *,
        in_order: bool = False,
        sizes: Sequence[tuple[int, int]] = (),
        shared_keys: int,
        key_heads: int,
        groups: int,
        scale: float,
    ) -> None:
        self._weigh = weigh
        self._groups = groups
        self._scale = scale
        new, own = seen.shape[1:]
        self._bias = causal_lower_right(new, shared_keys + own) if in_order and seen.device.type == "cuda" else None
        if self._bias is not None:
            return
        scores_per_row = key_heads * groups * new * (shared_keys + own)
        self._fused = seen.device.type != "cpu" or scores_per_row > _MOST_SCORES
        # The queries that share a key head become more queries of that head, so no key is copied for them.
        sight = functional.pad(seen.repeat(1, groups, 1), (shared_keys, 0), value=True)
        if self._fused:
            self._mask = sight[:, None]
            return
        masks = torch.zeros(sight.shape).masked_fill_(~sight, float("-inf")).unflatten(1, (groups, new))
        self._masks = [
            masks[row % len(masks), :, :mine, : shared_keys + keys].flatten(0, 1)
            for row, (mine, keys) in enumerate(sizes)
        ]

    def __call__(
        self,
        query: torch.Tensor,
        shared: tuple[torch.Tensor, torch.Tensor],
        own: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """The attention's output, of shape (rows, new tokens, query heads times head size).

        `query` has shape (rows, query heads, new tokens, head size); keys and values, in this order, have shape
        (key heads, shared keys, head size) and (rows, key heads, own keys, head size).
        """
        if self._bias is not None:
            keys, values = _joined(shared, own, query.shape[0])
            attended = functional.scaled_dot_product_attention(
                query, keys, values, attn_mask=self._bias, scale=self._scale, enable_gqa=True
            )
            return attended.transpose(1, 2).flatten(2)
        rows, heads, tokens, size = query.shape
        if self._fused:
            folded = query.reshape(rows, heads // self._groups, self._groups * tokens, size)
            keys, values = _joined(shared, own, rows)
            attended = functional.scaled_dot_product_attention(
                folded, keys, values, attn_mask=self._mask, scale=self._scale
            )
            # Not a view: a fused kernel chooses the strides of its result, on a GPU others for each dtype.
            return attended.reshape(rows, heads, tokens, size).transpose(1, 2).flatten(2)
        attended = query.new_zeros(rows, tokens, heads, size)
        for row, mask in enumerate(self._masks):
            mine, last = len(mask) // self._groups, mask.shape[1] - shared[0].shape[1]
            folded = query[row, :, :mine].reshape(heads // self._groups, -1, size)
            keys, values = (torch.cat([ours, its[row, :, :last]], 1) for ours, its in zip(shared, own, strict=True))
            found = self._weigh(folded @ keys.mT, mask, self._scale) @ values
            attended[row, :mine] = found.view(heads, mine, size).transpose(0, 1)
        return attended.flatten(2)


def _joined(
    shared: tuple[torch.Tensor, torch.Tensor], own: tuple[torch.Tensor, torch.Tensor], rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of each row: those of all rows, then its own."""
    keys, values = (
        torch.cat([of_all.expand(rows, -1, -1, -1), of_each], dim=2)
        for of_all, of_each in zip(shared, own, strict=True)
    )
    return keys, values
