"""A model's weights in the order that its forward computes with them.

Knows nothing of tokens, prompts or caches.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional

# For how many rows a layout is best; others may be multiplied by it, too.
_ROWS: Final = 512


@dataclass(frozen=True, slots=True)
class Tiles:
    """Numbers of rows that products are given at once: multiples of `step` up to `most`, which is one, too."""

    step: int
    most: int


def filled_up(rows: torch.Tensor, tiles: Tiles | None) -> torch.Tensor:
    """The rows, and zeros after the last up to the next multiple of a step."""
    missing = -len(rows) % tiles.step if tiles else 0
    return functional.pad(rows, (0, 0, 0, missing)) if missing else rows


class Product:
    """The product of (rows, inner) with the weights of projections that have one input, one after the other.

    On a CPU, those in bfloat16 are copied into the library's own layout, because plain ones are laid out anew for every
    product. Else the projections' weights become views of one merged weight. The projections go on working.
    """

    def __init__(self, *projections: Any) -> None:
        weight = torch.cat([projection.weight for projection in projections])
        self.outputs, self._inner = map(int, weight.shape)
        self.dtype: torch.dtype = weight.dtype
        self._bias = None if projections[0].bias is None else torch.cat([p.bias for p in projections])
        self._is_packed = (
            weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and torch.backends.mkldnn.is_available()
        )
        if self._is_packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)  # noqa: SLF001 - as inductor does
            return
        self._weight = weight
        sizes = [projection.weight.shape[0] for projection in projections]
        for projection, part in zip(projections, weight.split(sizes), strict=True):
            projection.weight.data = part

    def __call__(self, rows: torch.Tensor, tiles: Tiles | None = None) -> torch.Tensor:
        """Of shape (rows, outputs); with `tiles`, `rows` are filled up to a multiple of their step."""
        if tiles and len(rows) > tiles.most:
            return torch.cat([self(tile) for tile in rows.split(tiles.most)])
        if not self._is_packed:
            return functional.linear(rows, self._weight, self._bias)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")  # noqa: SLF001
        return product

    def is_independent(self, tiles: Tiles) -> bool:
        """Whether a row's product has the same bits in any place of a tile, and in all of these tiles."""
        rows = torch.randn(tiles.most, self._inner, generator=torch.Generator().manual_seed(1)).to(self.dtype)
        expected = self(rows)
        return torch.equal(self(rows.roll(1, 0)).roll(-1, 0), expected) and all(
            torch.equal(self(rows[:count]), expected[:count]) for count in range(tiles.step, tiles.most, tiles.step)
        )


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """What one layer of transformers' Qwen3 computes with; `norms` are those of queries and keys."""

    into_attention: torch.Tensor
    qkv: Product
    norms: tuple[torch.Tensor, torch.Tensor]
    out: Product
    into_mlp: torch.Tensor
    gate_up: Product
    down: Product


def layers_of(network: Any) -> list[LayerWeights]:
    """Those of a `Qwen3Model`, which need not live on."""
    return [
        LayerWeights(
            into_attention=layer.input_layernorm.weight,
            qkv=Product(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
            norms=(layer.self_attn.q_norm.weight, layer.self_attn.k_norm.weight),
            out=Product(layer.self_attn.o_proj),
            into_mlp=layer.post_attention_layernorm.weight,
            gate_up=Product(layer.mlp.gate_proj, layer.mlp.up_proj),
            down=Product(layer.mlp.down_proj),
        )
        for layer in network.layers
    ]
