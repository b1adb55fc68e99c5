"""Runs tiles of tokens through the model such that a tile's numbers depend on its own turn alone, to the last bit.

A sum of floats depends on its order, and the order in a matrix product on the product's shape. So shapes here never
depend on who asks: tokens go through in tiles of 16 at absolute positions, a step always has the same number of rows,
and attention goes tile by tile over as many keys as the tile's place says. A tile that is not full is padded; its
keys and values are not kept. Knows nothing of text, sessions or labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional
from transformers import Qwen3Model

from workers.serving.engine.forward.layer_pieces import PLAIN
from workers.serving.engine.forward.weights import layers_of
from workers.serving.engine.streaming.heads import HeadGroup

TILE: Final = 16
TILES_A_STEP: Final = 4


@dataclass(frozen=True, slots=True)
class Page:
    """Keys and values of one full tile: for each layer a tensor of shape (2, key heads, 16, head size)."""

    layers: tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive tiles of one turn: `ids` follow `pages`, which hold all that is before; the last may be short."""

    pages: Sequence[Page]
    ids: Sequence[int]

    @property
    def tiles(self) -> int:
        """How many places it takes in a step."""
        return -(-len(self.ids) // TILE)


@dataclass(frozen=True, slots=True)
class Computed:
    """What came of a stretch: both head groups' logits, of shape (tokens, labels), and the pages of its full tiles."""

    response: torch.Tensor
    query: torch.Tensor
    pages: list[Page]


class Grid:
    """One model's steps. The model itself goes on working, and need not live on.

    `heads` are those of answers and of the user's turns. `tiles_a_step` is set to 1 where this machine's products let
    a row depend on its neighbours; `Grid` tries that out when it is made.
    """

    def __init__(self, network: Qwen3Model, heads: tuple[HeadGroup, HeadGroup], max_positions: int) -> None:
        model: Any = network
        config = model.config
        self._embed = model.embed_tokens
        self._layers: Final = layers_of(model)
        self._norm: torch.Tensor = model.norm.weight
        self._heads = heads
        self._eps: float = config.rms_norm_eps
        self._query_heads: int = config.num_attention_heads
        self._key_heads: int = config.num_key_value_heads
        self._head_size: int = model.layers[0].self_attn.head_dim
        self._scale: float = model.layers[0].self_attn.scaling
        self._device: torch.device = network.device
        # Computed once: what a vectorised cosine gives may depend on its place in a tensor.
        with torch.inference_mode():
            angles = model.rotary_emb(self._embed.weight[:1], torch.arange(max_positions, device=self._device)[None])
        self._cos, self._sin = (angle[0].contiguous() for angle in angles)
        groups = self._query_heads // self._key_heads
        order = torch.arange(TILE, device=self._device)
        later = torch.zeros(TILE, TILE, device=self._device).masked_fill_(order > order[:, None], float("-inf"))
        self._own_mask = later.repeat(groups, 1)
        self.tiles_a_step = TILES_A_STEP
        if max_positions >= TILES_A_STEP * TILE and not self._is_independent():
            self.tiles_a_step = 1

    @property
    def page_bytes(self) -> int:
        """What a page occupies."""
        one: int = 2 * self._key_heads * TILE * self._head_size * self._embed.weight.element_size()
        return one * len(self._layers)

    def step(self, stretches: Sequence[Stretch]) -> list[Computed]:
        """Run at most `tiles_a_step` tiles, and return what came of each stretch, in order."""
        assert sum(stretch.tiles for stretch in stretches) <= TILES_A_STEP
        ids = torch.zeros(TILES_A_STEP * TILE, dtype=torch.long)
        positions = torch.zeros_like(ids)
        starts = []
        row = 0
        for stretch in stretches:
            first = len(stretch.pages) * TILE
            ids[row : row + len(stretch.ids)] = torch.tensor(stretch.ids, dtype=torch.long)
            positions[row : row + stretch.tiles * TILE] = torch.arange(first, first + stretch.tiles * TILE)
            starts.append(row)
            row += stretch.tiles * TILE
        with torch.inference_mode():
            hidden, kept = self._forward(ids.to(self._device), positions.to(self._device), stretches, starts)
            response, query = (heads(hidden.float()).cpu() for heads in self._heads)
        return [
            Computed(
                response[start : start + len(stretch.ids)],
                query[start : start + len(stretch.ids)],
                [_page(kept, place) for place in range(start, start + len(stretch.ids) // TILE * TILE, TILE)],
            )
            for stretch, start in zip(stretches, starts, strict=True)
        ]

    def _forward(
        self, ids: torch.Tensor, positions: torch.Tensor, stretches: Sequence[Stretch], starts: Sequence[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The normed last hidden states, and each layer's keys and values, of shape (2, key heads, rows, head size)."""
        hidden = self._embed(ids)
        rotation = (self._cos[positions], self._sin[positions])
        masks = self._masks(stretches)
        kept: list[torch.Tensor] = []
        into = PLAIN.normed(hidden, self._layers[0].into_attention, self._eps)
        for index, layer in enumerate(self._layers):
            heads = layer.qkv(into).unflatten(-1, (-1, self._head_size))
            turned, values = heads.split([self._query_heads + self._key_heads, self._key_heads], dim=1)
            query, keys = PLAIN.rotated(turned, layer.norms, self._eps, rotation, self._query_heads)
            kept.append(torch.stack([keys.transpose(0, 1), values.transpose(0, 1)]))
            attended = torch.zeros_like(query)
            for stretch, start in zip(stretches, starts, strict=True):
                pages = [page.layers[index] for page in stretch.pages]
                for place in range(start, start + stretch.tiles * TILE, TILE):
                    both = torch.cat([*pages, kept[-1][:, :, start : place + TILE]], dim=2)
                    rows = slice(place, place + TILE)
                    attended[rows] = self._attended(query[rows], both, masks[both.shape[2] // TILE])
            hidden, into = PLAIN.added_and_normed(hidden, layer.out(attended.flatten(1)), layer.into_mlp, self._eps)
            update = layer.down(PLAIN.gated(layer.gate_up(into)))
            norm = self._layers[index + 1].into_attention if index + 1 < len(self._layers) else self._norm
            hidden, into = PLAIN.added_and_normed(hidden, update, norm, self._eps)
        return into, kept

    def _attended(self, query: torch.Tensor, both: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention of one tile, of shape (16, query heads, head size), to keys and values up to itself."""
        # The queries that share a key head become more queries of that head.
        folded = (
            query.unflatten(1, (self._key_heads, -1)).permute(1, 2, 0, 3).reshape(self._key_heads, -1, self._head_size)
        )
        weights = PLAIN.weighed(folded @ both[0].mT, mask, self._scale)
        attended = (weights @ both[1]).unflatten(1, (-1, TILE))
        return attended.permute(2, 0, 1, 3).flatten(1, 2)

    def _masks(self, stretches: Sequence[Stretch]) -> dict[int, torch.Tensor]:
        """What a tile may look at, by how many tiles there are up to it."""
        counts = {len(stretch.pages) + own for stretch in stretches for own in range(1, stretch.tiles + 1)}
        return {count: functional.pad(self._own_mask, (TILE * (count - 1), 0)) for count in counts}

    def _is_independent(self) -> bool:
        """Whether a tile's numbers are the same alone, in another place, and beside others."""
        ids = [(7 * place + place * place) % self._embed.weight.shape[0] for place in range(TILES_A_STEP * TILE)]
        together = self.step([Stretch([], ids)])[0]
        pages: list[Page] = []
        alone = []
        for start in range(0, len(ids), TILE):
            alone.append(self.step([Stretch(pages, ids[start : start + TILE])])[0])
            pages = [*pages, *alone[-1].pages]
        last, _, moved = self.step(
            [Stretch(pages[:3], ids[48:]), Stretch([], ids[5:21]), Stretch(pages[:1], ids[16:29])]
        )
        same = [
            (together.response, torch.cat([computed.response for computed in alone])),
            (together.query, torch.cat([computed.query for computed in alone])),
            (together.response[48:], last.response),
            (together.response[16:29], moved.response),
            *(
                (a, b)
                for one, two in zip(together.pages, pages, strict=True)
                for a, b in zip(one.layers, two.layers, strict=True)
            ),
        ]
        return all(torch.equal(one, two) for one, two in same)


def _page(kept: Sequence[torch.Tensor], place: int) -> Page:
    """The tile of rows from `place` on."""
    return Page(tuple(torch.stack([layer[:, :, place : place + TILE] for layer in kept]).unbind()))
