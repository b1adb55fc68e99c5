"""What runs passes of a model, and one that hands all of it on, for those that do a part of it otherwise."""

from collections.abc import Sequence
from typing import Protocol

import torch

from workers.serving.engine.forward.kept_cache import KeptCache, PrefixCache


class Forward(Protocol):
    """One model's forward over rectangles of new tokens; see `SuffixForward`."""

    @property
    def device(self) -> torch.device: ...

    def compile(self, prefix: PrefixCache) -> bool: ...

    def no_prefix(self) -> PrefixCache: ...

    def prefix(self, ids: Sequence[int]) -> PrefixCache: ...

    def start(
        self, ids: torch.Tensor, prefix: PrefixCache, positions: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, KeptCache]: ...

    def resume(
        self,
        ids: torch.Tensor,
        filled: torch.Tensor,
        prefix: PrefixCache,
        cache: KeptCache,
        positions: torch.Tensor | None,
    ) -> torch.Tensor | None: ...


class DelegatingForward:
    """Another forward, but for what a subclass does otherwise."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._forward.device

    def compile(self, prefix: PrefixCache) -> bool:
        """See `SuffixForward`, as for all that follow."""
        return self._forward.compile(prefix)

    def no_prefix(self) -> PrefixCache:
        """The empty prefix."""
        return self._forward.no_prefix()

    def prefix(self, ids: Sequence[int]) -> PrefixCache:
        """A prompt's first tokens, computed."""
        return self._forward.prefix(ids)

    def start(
        self, ids: torch.Tensor, prefix: PrefixCache, positions: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, KeptCache]:
        """The first tokens after a prefix."""
        return self._forward.start(ids, prefix, positions)

    def resume(
        self,
        ids: torch.Tensor,
        filled: torch.Tensor,
        prefix: PrefixCache,
        cache: KeptCache,
        positions: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Tokens that follow those of a cache."""
        return self._forward.resume(ids, filled, prefix, cache, positions)
