"""An engine under a batcher that a test opens and breaks, and what else such tests share."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from workers.serving.batching.batcher import Batcher


class GatedEngine:
    """Answers every group of equal items by its key; each batch waits for `gate` where there is one."""

    def __init__(
        self, broken: Callable[[Sequence[str]], bool] = lambda _: False, *, gate: asyncio.Event | None = None
    ) -> None:
        self.batches: list[list[str]] = []
        self.groups: list[list[list[str]]] = []
        self.broken = broken
        self.gate = gate
        self.running = 0

    async def __call__(self, groups: Sequence[Sequence[str]]) -> list[str]:
        assert self.running == 0, "one batch at a time"
        self.running += 1
        batch = [group[0] for group in groups]
        self.groups.append([list(group) for group in groups])
        self.batches.append(batch)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
            if self.broken(batch):
                raise RuntimeError("engine")
            return [f"answer to {key_of(item)}" for item in batch]
        finally:
            self.running -= 1


def key_of(item: str) -> str:
    """Items are equal up to a colon, so that a test can tell them apart."""
    return item.partition(":")[0]


def batcher_of(
    engine: GatedEngine, *, tokens: int = 1000, size: int = 100, background_tokens: int = 10, share: float = 0.0
) -> Batcher[str, str]:
    return Batcher(
        engine,
        key=key_of,
        batch_tokens=tokens,
        batch_size=size,
        background_tokens=background_tokens,
        background_share=share,
    )


async def turns(count: int = 10) -> None:
    """Let every other task run until it waits."""
    for _ in range(count):
        await asyncio.sleep(0)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))
