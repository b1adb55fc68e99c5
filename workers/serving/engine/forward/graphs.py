"""Small passes replayed from CUDA graphs: on a GPU, most of what such a pass costs is launching its kernels one by one.

Knows nothing of drafts or verdicts, and of the model only that `SuffixForward` runs it.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

from workers.serving.engine.forward.delegating import DelegatingForward
from workers.serving.engine.forward.kept_cache import KeptCache, PrefixCache
from workers.serving.engine.forward.suffix_forward import SuffixForward

_LOG: Final = logging.getLogger(__name__)
# A pass is padded to the next of these numbers of rows, and of tokens to the next multiple of a step.
_ROWS: Final = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
_TOKENS_STEP: Final = 8
# Rows times tokens. From about here on, a GPU computes longer than it is being told what to compute.
_MOST_CELLS: Final = 8192
_MOST_POSITIONS: Final = 16
# The one that was not used for longest is dropped.
_MOST_GRAPHS: Final = 128


def with_graphs(forward: SuffixForward, *, settled: bool) -> "SuffixForward | GraphedForward":
    """On a GPU, the same with graphs; `settled` says that it will not be compiled."""
    return GraphedForward(forward, settled=settled) if forward.device.type == "cuda" else forward


@dataclass(frozen=True, slots=True)
class _Size:
    """What a graph is made for; `prefix` is where its keys are, which are nobody else's while the graph lives."""

    rows: int
    tokens: int
    positions: int
    prefix: int


class GraphedForward(DelegatingForward):
    """`SuffixForward` on a GPU, with its small passes padded to a few sizes and replayed from one graph for each.

    What `start` returns is valid until the next `start`. A size is captured when it comes for the second time, and only
    once the forward will not change any more: after `compile`, or from the beginning if `settled`. Other passes, and
    those of sizes that could not be captured, run as they are, padded all the same: a message's bits are to be the same
    before and after.
    """

    def __init__(self, forward: SuffixForward, *, settled: bool) -> None:
        super().__init__(forward)
        self._settled = settled
        self._met: set[_Size] = set()
        self._replays: OrderedDict[_Size, Callable[[], None]] = OrderedDict()
        self._buffers = _Buffers(forward)
        self._pool: Any = None

    def compile(self, prefix: PrefixCache) -> bool:
        """See `SuffixForward.compile`."""
        compiled = super().compile(prefix)
        self._settled = True
        return compiled

    def start(
        self, ids: torch.Tensor, prefix: PrefixCache, positions: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, KeptCache]:
        """See `SuffixForward.start`; the cache of a small pass may have room for more tokens than `ids` has."""
        if positions is None or (size := _size_of(ids, prefix, positions)) is None:
            return self._forward.start(ids, prefix, positions)
        all_ids, all_positions = self._buffers.filled(size, ids, positions)
        logits: torch.Tensor | None
        if (replay := self._replay_of(size, prefix)) is None:
            logits, cache = self._forward.start(all_ids, prefix, all_positions)
        else:
            replay()
            logits, cache = self._buffers.results(size)
        return None if logits is None else logits[: len(ids)], cache.first(len(ids))

    def _replay_of(self, size: _Size, prefix: PrefixCache) -> Callable[[], None] | None:
        if (replay := self._replays.get(size)) is not None:
            self._replays.move_to_end(size)
            return replay
        if not self._settled or size not in self._met:
            self._met.add(size)
            return None
        try:
            replay = self._captured(size, prefix)
        except RuntimeError as error:  # of memory, or of what cannot be captured
            _LOG.warning("no more passes are captured as CUDA graphs: %s", type(error).__name__)
            self._settled = False
            return None
        self._replays[size] = replay
        if len(self._replays) > _MOST_GRAPHS:
            self._replays.popitem(last=False)
        return replay

    def _captured(self, size: _Size, prefix: PrefixCache) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        # Other threads go on using the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            ids, positions = self._buffers.inputs(size)
            self._buffers.take(size, *self._forward.start(ids, prefix, positions))

        def replay(_alive: PrefixCache = prefix) -> None:
            graph.replay()

        return replay


def _size_of(ids: torch.Tensor, prefix: PrefixCache, positions: torch.Tensor) -> _Size | None:
    """The size that a pass is padded to; None for one that is large, or that begins with nothing shared."""
    rows = next((rows for rows in _ROWS if rows >= len(ids)), None)
    tokens = -(-ids.shape[1] // _TOKENS_STEP) * _TOKENS_STEP
    if rows is None or rows * tokens > _MOST_CELLS or positions.shape[1] > _MOST_POSITIONS or not prefix.tokens:
        return None
    return _Size(rows, tokens, positions.shape[1], prefix.keys[0].data_ptr())


class _Buffers:
    """What graphs read and write, in places that never move; graphs share them, because only one runs at a time."""

    def __init__(self, forward: SuffixForward) -> None:
        self._words = forward.words
        none = forward.no_prefix()
        self._heads, _, self._head_size = none.keys[0].shape
        # Zeros are as good as any ids and positions.
        self._ids = torch.zeros(_MOST_CELLS, dtype=torch.int64, device=forward.device)
        self._positions = torch.zeros(_ROWS[-1] * _MOST_POSITIONS, dtype=torch.int64, device=forward.device)
        self._logits = none.keys[0].new_empty(_ROWS[-1] * _MOST_POSITIONS * forward.words)
        cells = _MOST_CELLS * self._heads * self._head_size
        self._keys = [keys.new_empty(cells) for keys in none.keys]
        self._values = [values.new_empty(cells) for values in none.values]

    def inputs(self, size: _Size) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and positions of a pass of this size."""
        return (
            self._ids[: size.rows * size.tokens].view(size.rows, size.tokens),
            self._positions[: size.rows * size.positions].view(size.rows, size.positions),
        )

    def filled(self, size: _Size, ids: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, after they were given: at other places are whatever ids, and positions within the pass."""
        all_ids, all_positions = self.inputs(size)
        rows, tokens = ids.shape
        all_ids[:rows, :tokens] = ids
        all_positions[:rows] = positions
        all_positions[rows:] = 0
        return all_ids, all_positions

    def take(self, size: _Size, logits: torch.Tensor | None, cache: KeptCache) -> None:
        """Copy what a pass of this size has computed."""
        taken, kept = self.results(size)
        if logits is not None:
            taken.copy_(logits)
        for places, new in zip((*kept.keys, *kept.values), (*cache.keys, *cache.values), strict=True):
            places.copy_(new)

    def results(self, size: _Size) -> tuple[torch.Tensor, KeptCache]:
        """The places for logits, keys and values of a pass of this size."""
        shape = (size.rows, self._heads, size.tokens, self._head_size)
        cells = math.prod(shape)
        logits = self._logits[: size.rows * size.positions * self._words]
        return logits.view(size.rows, size.positions, self._words), KeptCache(
            [keys[:cells].view(shape) for keys in self._keys], [values[:cells].view(shape) for values in self._values]
        )
