"""Runs the unshared parts of prompts through the model, on top of the shared parts' keys and values.

The layers are transformers' own, with its model's weights. What differs is which rows go through them and which keys
their attention sees. Knows nothing of tokenizers, drafts or verdicts.
"""

import copy
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen3ForCausalLM

from workers.serving.engine.forward.attention import PrefixAttention, RowAttention
from workers.serving.engine.forward.kept_cache import KeptCache, PackedCache, PrefixCache
from workers.serving.engine.forward.layer_pieces import PLAIN, LayerPieces, compiled_pieces
from workers.serving.engine.forward.weights import Product, Tiles, filled_up, layers_of

# How products may be tiled where a row's bits are not to depend on the others, the rows of whole passes and those that
# logits are wanted for: as they come, where numbers of rows make no difference, else always the same number.
_TILES: Final = ((Tiles(32, 1024), Tiles(32, 256)), (Tiles(512, 512), Tiles(128, 128)))


def refuse_other_models(name: str, model: PreTrainedModel) -> None:
    """Raise ValueError for a model whose layers are not those that `SuffixForward` runs."""
    config: Any = model.config
    is_known = isinstance(model, Qwen3ForCausalLM) and config.hidden_act == "silu"
    kinds = set(config.layer_types) if is_known else set()
    if kinds != {"full_attention"}:
        raise ValueError(
            f"guard.model {name!r}: guard.engine one_pass runs Qwen3 models with full attention only, guard.engine "
            f"reference also this one: {type(model).__name__} with {', '.join(sorted(kinds)) or 'other layers'}"
        )


class SuffixForward:
    """One model's forward over rectangles of new tokens.

    Projections that have one input (query, key and value; gate and up) are merged into one product. The model itself
    goes on working, and need not live on: see `Product`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        network: Any = model
        self._embed = network.model.embed_tokens
        self._layers: Final = layers_of(network.model)
        self._norm: torch.Tensor = network.model.norm.weight
        self._rotary = network.model.rotary_emb
        self._head = Product(network.lm_head)
        attention = network.model.layers[0].self_attn
        self._head_size: int = attention.head_dim
        self._scale: float = attention.scaling
        self._query_heads: int = network.config.num_attention_heads
        self._key_heads: int = network.config.num_key_value_heads
        self._device: torch.device = network.device
        self._eps: float = network.config.rms_norm_eps
        self._pieces = PLAIN
        self._places: list[torch.Tensor] = []
        self._tiles: tuple[Tiles | None, Tiles | None] = (None, None)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._device

    @property
    def words(self) -> int:
        """How many the logits of a position are."""
        return self._head.outputs

    def compile(self, prefix: PrefixCache) -> bool:
        """Compile what lies between the products, half a minute's work; False, and all as before, if it cannot be.

        May run in a thread of its own while others run the model.
        """

        def try_out(pieces: LayerPieces) -> torch.Tensor:
            trial = self.with_pieces(pieces)
            logits = []
            for rows, tokens in ((3, 37), (2, 53), (1, 41)):
                ids = torch.arange(rows * tokens, device=self._device).view(rows, tokens)
                positions = torch.arange(tokens - 7, tokens, device=self._device).expand(rows, -1)
                found: Any = trial.start(ids, prefix, positions)[0]
                logits.append(found.flatten(0, 1))
            return torch.cat(logits)

        if (pieces := compiled_pieces(try_out)) is not None:
            self._pieces = pieces
        return pieces is not None

    def with_pieces(self, pieces: LayerPieces) -> "SuffixForward":
        """The same model with other pieces between its products."""
        other = copy.copy(self)
        other._pieces, other._places = pieces, []  # noqa: SLF001 - its own class
        return other

    def invariant(self, *, compiled: bool) -> "SuffixForward | None":
        """The same model, whose numbers for a row of a pass are the same to the bit whatever the other rows are.

        A sum of floats depends on its order, and that may depend on shapes. So attention goes row by row over the row's
        own tokens alone, and products have numbers of rows among which a row is seen here to be the same. None where
        there are none on this machine; a GPU is not asked. With `compiled`, it is compiled before, if it can be.
        """
        if self._device.type != "cpu":
            return None
        first = self._layers[0]
        with torch.inference_mode():
            for whole, wanted in _TILES:
                tried = [(p, way) for p in (first.qkv, first.out, first.gate_up, first.down) for way in (whole, wanted)]
                if all(product.is_independent(tiles) for product, tiles in [*tried, (self._head, wanted)]):
                    break
            else:
                return None
            other = copy.copy(self)
            other._tiles, other._places = (whole, wanted), []  # noqa: SLF001 - its own class
            prefix = other.prefix(range(7))
            if compiled:
                other.compile(prefix)
            return other if other._is_independent(prefix) else None  # noqa: SLF001

    def _is_independent(self, prefix: PrefixCache) -> bool:
        """Whether rows of several lengths, beside each other and alone, have the same logits, keys and values."""
        lengths = (41, 37, 23, 40, 11)
        ids = torch.arange(len(lengths) * max(lengths)).view(len(lengths), -1) % self.words
        ends = torch.tensor(lengths)[:, None] - 1
        together, cache = self.start(ids, prefix, ends)
        cache = cache.selected(range(len(lengths)))
        for row, length in enumerate(lengths):
            alone, its = self.start(ids[row : row + 1, :length], prefix, ends[row : row + 1])
            its = its.selected([0])
            kept = zip((*cache.keys, *cache.values), (*its.keys, *its.values), strict=True)
            if together is None or alone is None or not torch.equal(together[row], alone[0]):
                return False
            if not all(torch.equal(one[row, :, :length], two[0]) for one, two in kept):
                return False
        return True

    def no_prefix(self) -> PrefixCache:
        """The empty prefix, of prompts that share nothing."""
        weight = self._embed.weight
        none = tuple(weight.new_empty(self._key_heads, 0, self._head_size) for _ in self._layers)
        return PrefixCache(none, none, 0)

    def prefix(self, ids: Sequence[int]) -> PrefixCache:
        """Compute the keys and values of a prompt's first tokens."""
        _, cache = self.start(torch.tensor([ids], device=self._device), self.no_prefix(), None)
        return PrefixCache(tuple(k[0] for k in cache.keys), tuple(v[0] for v in cache.values), len(ids))

    def start(
        self, ids: torch.Tensor, prefix: PrefixCache, positions: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, KeptCache]:
        """Run the first tokens after `prefix`: `ids` of shape (rows, tokens), filled up at the right with anything.

        Returns the logits, of shape (rows, n, vocabulary), at `positions`, of shape (rows, n) and counted from the
        first of `ids` (None for no logits), and the keys and values of all of `ids`, which with `positions` are valid
        until the next `start`.
        """
        tokens = ids.shape[1]
        own = torch.arange(tokens, device=self._device)[None]
        if self._device.type != "cpu":
            cache = KeptCache([], [])
            return self._run(ids, own, prefix, cache, positions, tokens), cache
        lengths = [tokens] * len(ids) if positions is None else (positions[:, -1] + 1).tolist()
        cache = KeptCache([], []) if positions is None else PackedCache(lengths, tokens, self._places)
        return self._run(ids, own, prefix, cache, positions, tokens, [(length, length) for length in lengths]), cache

    def resume(
        self,
        ids: torch.Tensor,
        filled: torch.Tensor,
        prefix: PrefixCache,
        cache: KeptCache,
        positions: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Run tokens that follow the first `filled` (of shape (rows,)) positions of `cache`, and write theirs there.

        `cache` must have room for them. Takes and returns else what `start` does.
        """
        own = filled[:, None] + torch.arange(ids.shape[1], device=self._device)
        sizes = (
            [(ids.shape[1], length + ids.shape[1]) for length in filled.tolist()] if self._device.type == "cpu" else []
        )
        return self._run(ids, own, prefix, cache, positions, cache.capacity, sizes, in_order=False)

    def _run(
        self,
        ids: torch.Tensor,
        own: torch.Tensor,
        prefix: PrefixCache,
        cache: KeptCache,
        positions: torch.Tensor | None,
        visible: int,
        sizes: Sequence[tuple[int, int]] = (),
        *,
        in_order: bool = True,
    ) -> torch.Tensor | None:
        """`sizes` are each row's (new tokens, own keys) on a CPU, where padding goes through no product."""
        # One change of pieces, even if new ones are ready while this runs.
        pieces = self._pieces if ids.numel() > 1 or self._tiles[0] else PLAIN
        rows, tokens = ids.shape
        tiles, wanted = self._tiles
        places = own.expand(rows, -1)
        # Of each row, where its first token is.
        starts = torch.arange(0, rows * tokens, tokens, device=self._device)
        packed_ids, packed_places = ids.flatten(), places.flatten()
        if sizes and min(new for new, _ in sizes) < tokens:
            packed_ids, packed_places = (
                torch.cat([row[:new] for row, (new, _) in zip(of_all, sizes, strict=True)]) for of_all in (ids, places)
            )
            starts = torch.tensor([0, *accumulate(new for new, _ in sizes)])[:-1]
        cells = len(packed_ids)
        hidden = filled_up(self._embed(packed_ids[None])[0], tiles)
        rotation = tuple(filled_up(a[0], tiles) for a in self._rotary(hidden, packed_places[None] + prefix.tokens))
        # A token sees its row's tokens up to itself; padding lies behind all of them.
        seen = torch.arange(visible, device=self._device) <= own[..., None]
        attention = self._attention(seen, prefix, pieces, sizes, in_order=in_order)
        into = pieces.normed(hidden, self._layers[0].into_attention, self._eps)
        for index, layer in enumerate(self._layers):
            if index == 0 and sizes:
                # Equal tokens go into the first layer alike, and most are the template's.
                _, of, first = np.unique(packed_ids.numpy(), return_index=True, return_inverse=True)
                product = layer.qkv(filled_up(into[torch.from_numpy(of)], tiles), tiles)
                product = filled_up(product[torch.from_numpy(first)], tiles)
            else:
                product = layer.qkv(into, tiles)
            heads = product.unflatten(-1, (-1, self._head_size))
            turned, values = heads.split([self._query_heads + self._key_heads, self._key_heads], dim=1)
            query, keys = pieces.rotated(turned, layer.norms, self._eps, rotation, self._query_heads)
            query, keys, values = query[:cells], keys[:cells], values[:cells]
            cache.keep(index, own, keys, values)
            if index == len(self._layers) - 1:
                # Of the last layer only the keys and values are needed everywhere, the rest where logits are wanted.
                if positions is None:
                    return None
                at = (starts[:, None] + positions).flatten()
                query, hidden, tiles = query[at], filled_up(hidden[at], wanted), wanted
                row = torch.arange(rows, device=self._device)[:, None]
                seen = seen.expand(rows, -1, -1)[row, positions]
                sizes = [(positions.shape[1], keys) for _, keys in sizes]
                attention = self._attention(seen, prefix, pieces, sizes, in_order=False)
            its: Any = (
                cache.of_rows(index, [keys for _, keys in sizes]) if sizes else (cache.keys[index], cache.values[index])
            )
            attended = attention(query, (prefix.keys[index], prefix.values[index]), its)
            update = layer.out(filled_up(attended, tiles), tiles)
            hidden, into = pieces.added_and_normed(hidden, update, layer.into_mlp, self._eps)
            update = layer.down(pieces.gated(layer.gate_up(into, tiles)), tiles)
            norm = self._layers[index + 1].into_attention if index + 1 < len(self._layers) else self._norm
            hidden, into = pieces.added_and_normed(hidden, update, norm, self._eps)
        logits = self._head(into, tiles)
        return logits if positions is None else logits[: positions.numel()].unflatten(0, (rows, -1))

    def _attention(
        self,
        seen: torch.Tensor,
        prefix: PrefixCache,
        pieces: LayerPieces,
        sizes: Sequence[tuple[int, int]],
        *,
        in_order: bool,
    ) -> Any:
        groups = self._query_heads // self._key_heads
        if sizes:
            return RowAttention(
                seen, pieces.weighed, sizes=sizes, shared_keys=prefix.tokens, groups=groups, scale=self._scale
            )
        in_order = in_order and self._head.dtype in (torch.bfloat16, torch.float16)
        return PrefixAttention(seen, in_order=in_order, shared_keys=prefix.tokens, groups=groups, scale=self._scale)
