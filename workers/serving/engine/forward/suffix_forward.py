"""Runs the unshared parts of prompts through the model, on top of the shared parts' keys and values.

The layers are transformers' own modules with their own weights. What differs is which rows go through them and which
keys their attention sees. Knows nothing of tokenizers, drafts or verdicts.
"""

import copy
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.nn import functional
from transformers import PreTrainedModel, Qwen3ForCausalLM

from workers.serving.engine.forward.attention import PrefixAttention
from workers.serving.engine.forward.kept_cache import KeptCache, PrefixCache
from workers.serving.engine.forward.layer_pieces import PLAIN, LayerPieces, compiled_pieces


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

    The model's projections that have one input (query, key and value; gate and up) are made views of one merged weight,
    which computes the same products in one call; the model itself goes on working.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        network: Any = model
        self._embed = network.model.embed_tokens
        self._layers: Final = list(network.model.layers)
        self._norm = network.model.norm
        self._rotary = network.model.rotary_emb
        self._head = network.lm_head
        attention = self._layers[0].self_attn
        self._head_size: int = attention.head_dim
        self._scale: float = attention.scaling
        self._query_heads: int = network.config.num_attention_heads
        self._key_heads: int = network.config.num_key_value_heads
        self._device: torch.device = network.device
        self._qkv = [merged(x.self_attn.q_proj, x.self_attn.k_proj, x.self_attn.v_proj) for x in self._layers]
        self._gate_up = [merged(x.mlp.gate_proj, x.mlp.up_proj) for x in self._layers]
        self._eps: float = network.config.rms_norm_eps
        self._pieces = PLAIN

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._device

    @property
    def words(self) -> int:
        """How many the logits of a position are."""
        return int(self._head.weight.shape[0])

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
        other._pieces = pieces  # noqa: SLF001 - its own class
        return other

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
        first of `ids` (None for no logits), and the keys and values of all of `ids`.
        """
        tokens = ids.shape[1]
        own = torch.arange(tokens, device=self._device)[None]
        cache = KeptCache([], [])
        return self._run(ids, own, prefix, cache, positions, tokens, in_order=True), cache

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
        return self._run(ids, own, prefix, cache, positions, cache.capacity)

    def _run(
        self,
        ids: torch.Tensor,
        own: torch.Tensor,
        prefix: PrefixCache,
        cache: KeptCache,
        positions: torch.Tensor | None,
        visible: int,
        *,
        in_order: bool = False,
    ) -> torch.Tensor | None:
        # One change of pieces, even if new ones are ready while this runs.
        pieces = self._pieces if ids.numel() > 1 else PLAIN
        rows, tokens = ids.shape
        hidden = self._embed(ids).flatten(0, 1)
        cos, sin = self._rotary(hidden, own + prefix.tokens)
        rotation = tuple(angle.expand(rows, -1, -1).flatten(0, 1).contiguous() for angle in (cos, sin))
        # A token sees its row's tokens up to itself; padding lies behind all of them.
        seen = torch.arange(visible, device=self._device) <= own[..., None]
        attention = self._attention(seen, prefix, pieces, in_order=in_order)
        at = torch.arange(rows, device=self._device)[:, None]
        into = pieces.normed(hidden, self._layers[0].input_layernorm.weight, self._eps)
        for index, layer in enumerate(self._layers):
            query, *new = self._projected(index, into, rotation, pieces, rows)
            kept = cache.keep(index, own, *new)
            if index == len(self._layers) - 1:
                # Of the last layer only the keys and values are needed everywhere, the rest where logits are wanted.
                if positions is None:
                    return None
                query = query.transpose(1, 2)[at, positions].transpose(1, 2)
                hidden = hidden.unflatten(0, (rows, tokens))[at, positions].flatten(0, 1)
                attention = self._attention(seen.expand(rows, -1, -1)[at, positions], prefix, pieces)
            attended = attention(query, (prefix.keys[index], prefix.values[index]), kept).flatten(0, 1)
            update = layer.self_attn.o_proj(attended)
            norm = layer.post_attention_layernorm.weight
            hidden, into = pieces.added_and_normed(hidden, update, norm, self._eps)
            update = layer.mlp.down_proj(pieces.gated(functional.linear(into, *self._gate_up[index])))
            norm = (
                self._layers[index + 1].input_layernorm.weight if index + 1 < len(self._layers) else self._norm.weight
            )
            hidden, into = pieces.added_and_normed(hidden, update, norm, self._eps)
        logits: torch.Tensor = self._head(into).unflatten(0, (rows, -1))
        return logits

    def _projected(
        self, index: int, into: torch.Tensor, rotation: tuple[torch.Tensor, ...], pieces: LayerPieces, rows: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated queries and keys, and values, of shape (rows, heads, tokens, head size)."""
        attention = self._layers[index].self_attn
        heads = functional.linear(into, *self._qkv[index]).unflatten(-1, (-1, self._head_size))
        turned, values = heads.split([self._query_heads + self._key_heads, self._key_heads], dim=1)
        norms = (attention.q_norm.weight, attention.k_norm.weight)
        query, keys = pieces.rotated(turned, norms, self._eps, rotation, self._query_heads)
        query, keys, values = (x.unflatten(0, (rows, -1)).transpose(1, 2) for x in (query, keys, values))
        return query, keys, values

    def _attention(
        self, seen: torch.Tensor, prefix: PrefixCache, pieces: LayerPieces, *, in_order: bool = False
    ) -> PrefixAttention:
        return PrefixAttention(
            seen,
            pieces.weighed,
            in_order=in_order and self._head.weight.dtype in (torch.bfloat16, torch.float16),
            shared_keys=prefix.tokens,
            key_heads=self._key_heads,
            groups=self._query_heads // self._key_heads,
            scale=self._scale,
        )


def merged(*projections: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One weight and bias for projections of the same input; each projection's own become views of them."""
    weight = torch.cat([projection.weight for projection in projections])
    bias = None if projections[0].bias is None else torch.cat([projection.bias for projection in projections])
    sizes = [projection.weight.shape[0] for projection in projections]
    for projection, part in zip(projections, weight.split(sizes), strict=True):
        projection.weight.data = part
    return weight, bias
