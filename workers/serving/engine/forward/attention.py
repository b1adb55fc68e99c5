"""Attention of new tokens, to keys that all rows share and to each row's own keys.

Every new token sees all of the shared keys. Knows nothing of layers, prompts or caches.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import torch
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

# A row with more scores than this (1 GB at work) is left to the fused kernel, which never holds all at once.
_MOST_SCORES: Final = 2**26
KeysAndValues: TypeAlias = tuple[torch.Tensor, torch.Tensor]


class PrefixAttention:
    """Attention of a rectangle for one forward, in torch's fused kernels.

    `seen`, of shape (rows or 1, new tokens, own keys), says what each token may look at; `groups` query heads share a
    key head. With `in_order`, a token of a row sees that row's own tokens up to itself and no others, and `seen` says
    just that: kernels that need no mask are used.
    """

    def __init__(
        self, seen: torch.Tensor, *, in_order: bool = False, shared_keys: int, groups: int, scale: float
    ) -> None:
        self._groups = groups
        self._scale = scale
        self._tokens, own = seen.shape[1:]
        self._bias = (
            causal_lower_right(self._tokens, shared_keys + own) if in_order and seen.device.type == "cuda" else None
        )
        if self._bias is None:
            # The queries that share a key head become more queries of that head, so no key is copied for them.
            self._mask = functional.pad(seen.repeat(1, groups, 1), (shared_keys, 0), value=True)[:, None]

    def __call__(self, query: torch.Tensor, shared: KeysAndValues, own: KeysAndValues) -> torch.Tensor:
        """The attention's output, of shape (rows times new tokens, query heads times head size).

        `query` has shape (rows times new tokens, query heads, head size); keys and values, in this order, have shape
        (key heads, shared keys, head size) and (rows, key heads, own keys, head size).
        """
        query = query.unflatten(0, (-1, self._tokens)).transpose(1, 2)
        rows, heads, tokens, size = query.shape
        keys, values = (
            torch.cat([of_all.expand(rows, -1, -1, -1), of_each], dim=2)
            for of_all, of_each in zip(shared, own, strict=True)
        )
        if self._bias is not None:
            attended = functional.scaled_dot_product_attention(
                query, keys, values, attn_mask=self._bias, scale=self._scale, enable_gqa=True
            )
        else:
            folded = query.reshape(rows, heads // self._groups, self._groups * tokens, size)
            attended = functional.scaled_dot_product_attention(
                folded, keys, values, attn_mask=self._mask, scale=self._scale
            )
            # Not a view: a fused kernel chooses the strides of its result, on a GPU others for each dtype.
            attended = attended.reshape(rows, heads, tokens, size)
        return attended.transpose(1, 2).flatten(2).flatten(0, 1)


class RowAttention:
    """Attention for one forward on a CPU, one row at a time, which fits into its caches.

    torch's fused kernels are three times slower there than two plain products (bfloat16, 300 keys); for long rows they
    have no rival. `sizes` are each row's (new tokens, own keys), `weigh` is `layer_pieces.weighed` or the same
    compiled, and the rest is as with `PrefixAttention`.
    """

    def __init__(
        self,
        seen: torch.Tensor,
        weigh: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor],
        *,
        sizes: Sequence[tuple[int, int]],
        shared_keys: int,
        groups: int,
        scale: float,
    ) -> None:
        self._weigh = weigh
        self._groups = groups
        self._scale = scale
        self._new = [new for new, _ in sizes]
        masks = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))
        masks = functional.pad(masks, (shared_keys, 0))[:, None].expand(-1, groups, -1, -1)
        self._masks = [
            masks[row % len(masks), :, :new, : shared_keys + keys].flatten(0, 1)
            for row, (new, keys) in enumerate(sizes)
        ]

    def __call__(self, query: torch.Tensor, shared: KeysAndValues, own: Sequence[KeysAndValues]) -> torch.Tensor:
        """The attention's output, of shape (new tokens, query heads times head size).

        `query` has shape (new tokens, query heads, head size), row after row; keys and values, in this order, have
        shape (key heads, keys, head size), those of each row for itself.
        """
        attended = torch.empty_like(query)
        for mask, its, asking, answer in zip(
            self._masks, own, query.split(self._new), attended.split(self._new), strict=True
        ):
            new, heads, size = asking.shape
            folded = asking.transpose(0, 1).reshape(heads // self._groups, -1, size)
            keys, values = (torch.cat(both, 1) for both in zip(shared, its, strict=True))
            if len(folded) * mask.numel() > _MOST_SCORES:
                found = functional.scaled_dot_product_attention(
                    folded[None], keys[None], values[None], attn_mask=mask == 0, scale=self._scale
                )
            else:
                found = self._weigh(folded @ keys.mT, mask, self._scale) @ values
            answer.copy_(found.view(heads, new, size).transpose(0, 1))
        return attended.flatten(1)
