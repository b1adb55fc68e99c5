"""Runs the parts of prompts that are not shared through the model, on keys and values that are.

The layers are transformers' own modules with their own weights; what is done differently here is which rows go through
them, and which keys their attention sees. Knows nothing of tokenizers, drafts or verdicts.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.nn import functional
from transformers import PreTrainedModel, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import apply_rotary_pos_emb

from workers.serving.engine.attention import PrefixAttention
from workers.serving.engine.kept_cache import KeptCache, PrefixCache


def refuse_other_models(name: str, model: PreTrainedModel) -> None:
    """Raise ValueError for a model whose layers are not those that `SuffixForward` runs."""
    config: Any = model.config
    kinds = set(config.layer_types) if isinstance(model, Qwen3ForCausalLM) else set()
    if kinds != {"full_attention"}:
        raise ValueError(
            f"guard.model {name!r}: guard.engine one_pass runs Qwen3 models with full attention only, guard.engine "
            f"reference also this one: {type(model).__name__} with {', '.join(sorted(kinds)) or 'other layers'}"
        )


class SuffixForward:
    """One model's forward over rectangles of new tokens.

    The model's query, key and value projections, and its gate and up projections, are each made views of one merged
    weight, which computes the same products in fewer calls; the model itself goes on working.
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
        self._qkv = [_merged(x.self_attn.q_proj, x.self_attn.k_proj, x.self_attn.v_proj) for x in self._layers]
        self._gate_up = [_merged(x.mlp.gate_proj, x.mlp.up_proj) for x in self._layers]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._device

    def no_prefix(self) -> PrefixCache:
        """What prompts that share nothing share."""
        weight = self._embed.weight
        none = tuple(weight.new_empty(self._key_heads, 0, self._head_size) for _ in self._layers)
        return PrefixCache(none, none, 0)

    def prefix(self, ids: Sequence[int]) -> PrefixCache:
        """Compute the keys and values of a prompt's first tokens."""
        _, cache = self.start(torch.tensor([ids], device=self._device), self.no_prefix(), None)
        return PrefixCache(tuple(k[0] for k in cache.keys), tuple(v[0] for v in cache.values), len(ids))

    def start(
        self, ids: torch.Tensor, prefix: PrefixCache, places: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, KeptCache]:
        """Run the first tokens after `prefix`: `ids` of shape (rows, tokens), filled up at the right with anything.

        Returns the logits, of shape (rows, n, vocabulary), at `places`, of shape (rows, n) and counted from the first
        of `ids` (None for no logits), and the keys and values of all of `ids`.
        """
        tokens = ids.shape[1]
        own = torch.arange(tokens, device=self._device)[None]
        cache = KeptCache([], [])
        return self._run(ids, own, prefix, cache, places, tokens), cache

    def resume(
        self,
        ids: torch.Tensor,
        filled: torch.Tensor,
        prefix: PrefixCache,
        cache: KeptCache,
        places: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Run tokens that follow the first `filled` (of shape (rows,)) places of `cache`, and write theirs there.

        `cache` must have room for them. Takes and returns else what `start` does.
        """
        own = filled[:, None] + torch.arange(ids.shape[1], device=self._device)
        return self._run(ids, own, prefix, cache, places, cache.capacity)

    def _run(
        self,
        ids: torch.Tensor,
        own: torch.Tensor,
        prefix: PrefixCache,
        cache: KeptCache,
        places: torch.Tensor | None,
        visible: int,
    ) -> torch.Tensor | None:
        hidden = self._embed(ids)
        rotation = self._rotary(hidden, own + prefix.tokens)
        # A token sees its row's tokens up to itself; what fills a row up lies behind all of them.
        seen = torch.arange(visible, device=self._device) <= own[..., None]
        rows = torch.arange(ids.shape[0], device=self._device)[:, None]
        attention = self._attention(seen, prefix)
        for index in range(len(self._layers)):
            query, *new = self._projected(index, hidden, rotation)
            kept = cache.keep(index, own, *new)
            if index == len(self._layers) - 1:
                # Of the last layer only the keys and values are needed everywhere, the rest where logits are wanted.
                if places is None:
                    return None
                hidden, query = hidden[rows, places], query.transpose(1, 2)[rows, places].transpose(1, 2)
                attention = self._attention(seen.expand(len(rows), -1, -1)[rows, places], prefix)
            attended = attention(query, (prefix.keys[index], prefix.values[index]), kept)
            hidden = self._rest(index, hidden, attended)
        logits: torch.Tensor = self._head(self._norm(hidden))
        return logits

    def _projected(
        self, index: int, hidden: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated queries and keys, and values, of shape (rows, heads, tokens, head size)."""
        layer = self._layers[index]
        merged = functional.linear(layer.input_layernorm(hidden), *self._qkv[index])
        heads = merged.unflatten(-1, (-1, self._head_size))
        query, keys, values = heads.split([self._query_heads, self._key_heads, self._key_heads], dim=-2)
        query = layer.self_attn.q_norm(query).transpose(1, 2)
        keys = layer.self_attn.k_norm(keys).transpose(1, 2)
        query, keys = apply_rotary_pos_emb(query, keys, *rotation)
        return query, keys, values.transpose(1, 2)

    def _attention(self, seen: torch.Tensor, prefix: PrefixCache) -> PrefixAttention:
        return PrefixAttention(
            seen,
            shared_keys=prefix.tokens,
            key_heads=self._key_heads,
            groups=self._query_heads // self._key_heads,
            scale=self._scale,
        )

    def _rest(self, index: int, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """What follows attention in a layer."""
        layer = self._layers[index]
        hidden = hidden + layer.self_attn.o_proj(attended)
        gate, up = functional.linear(layer.post_attention_layernorm(hidden), *self._gate_up[index]).chunk(2, dim=-1)
        output: torch.Tensor = hidden + layer.mlp.down_proj(layer.mlp.act_fn(gate) * up)
        return output


def _merged(*projections: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One weight and bias for projections of the same input; each projection's own become views of them."""
    weight = torch.cat([projection.weight for projection in projections])
    bias = None if projections[0].bias is None else torch.cat([projection.bias for projection in projections])
    sizes = [projection.weight.shape[0] for projection in projections]
    for projection, part in zip(projections, weight.split(sizes), strict=True):
        projection.weight.data = part
    return weight, bias
