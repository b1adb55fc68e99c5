"""Attention of a rectangle of new tokens, to keys that all rows share and to each row's own keys.

Every new token sees all of the shared keys. Knows nothing of layers, prompts or caches.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

from workers.serving.engine.forward.layer_pieces import weighed

# A row with more scores than this (1 GB at work) is left to the fused kernel, which never holds all at once.
_MOST_SCORES: Final = 2**26
# Rows go through the plain products as few at a time as fit into a CPU's caches: three times as fast as all at once.
_SCORES_AT_ONCE: Final = 2**20


class PrefixAttention:
    """Attention for one forward: `seen`, of shape (rows or 1, new tokens, own keys), says what each token may look at.

    `weigh` is `layer_pieces.weighed` or the same compiled; `groups` query heads share a key head. With `in_order`, a
    token of a row sees that row's own tokens up to itself and no others, and `seen` says just that: kernels that need
    no mask are used where there are some. torch's fused kernels are three times slower on a CPU than two plain products
    (bfloat16, 300 keys), and have no rival on a GPU or for long prompts.
    """

    def __init__(
        self,
        seen: torch.Tensor,
        weigh: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor],
        *,
        in_order: bool = False,
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
        # The queries that share a key head become more queries of that head, so no key is copied for them.
        folded = seen.repeat(1, groups, 1)[:, None]
        scores_per_row = key_heads * folded.shape[2] * (shared_keys + seen.shape[2])
        self._fused = seen.device.type != "cpu" or scores_per_row > _MOST_SCORES
        self._rows_at_once = max(1, _SCORES_AT_ONCE // scores_per_row)
        sight = functional.pad(folded, (shared_keys, 0), value=True)
        self._mask = sight if self._fused else torch.zeros(sight.shape).masked_fill_(~sight, float("-inf"))

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
        if self._fused:
            return self._attended(query, shared, own, self._mask)
        rows = query.shape[0]
        masks = self._mask.expand(rows, -1, -1, -1)
        pieces = [slice(start, start + self._rows_at_once) for start in range(0, rows, self._rows_at_once)]
        return torch.cat([self._attended(query[p], shared, (own[0][p], own[1][p]), masks[p]) for p in pieces])

    def _attended(
        self,
        query: torch.Tensor,
        shared: tuple[torch.Tensor, torch.Tensor],
        own: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
    ) -> torch.Tensor:
        rows, heads, tokens, size = query.shape
        folded = query.reshape(rows, heads // self._groups, self._groups * tokens, size)
        keys, values = _joined(shared, own, rows)
        if self._fused:
            attended = functional.scaled_dot_product_attention(folded, keys, values, attn_mask=mask, scale=self._scale)
        elif rows == 1:
            # The usual piece, and the one that is compiled: always of three dimensions.
            attended = self._weigh((folded @ keys.mT)[0], mask[0, 0], self._scale) @ values[0]
        else:
            attended = weighed(folded @ keys.mT, mask, self._scale) @ values
        # Not a view: a fused kernel chooses the strides of its result, on a GPU others for each dtype.
        return attended.reshape(rows, heads, tokens, size).transpose(1, 2).flatten(2)


def _joined(
    shared: tuple[torch.Tensor, torch.Tensor], own: tuple[torch.Tensor, torch.Tensor], rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of each row: those of all rows, then its own."""
    keys, values = (
        torch.cat([of_all.expand(rows, -1, -1, -1), of_each], dim=2)
        for of_all, of_each in zip(shared, own, strict=True)
    )
    return keys, values
