"""The replicas that `weir bench latency` compares: the guard replica with its own batcher, and with `@serve.batch`.

Both count the batches that reach the engine. Does not measure time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from zlib import crc32

import numpy as np
from ray import serve

from workers.guard.lane import Lane
from workers.serving.batching.batcher import Answer, Batched, Batcher, Item
from workers.serving.engine.completion import Completion, Conversation, Engine, EngineIdentity, PreparedPrompt
from workers.serving.engine_choice import load_engine
from workers.serving.guard_replica import GuardReplica, keep_collections_short
from workers.settings.loading import Settings


class MeasuredReplica(GuardReplica):
    """A guard replica that counts its batches.

    Args:
        settings: all settings.
        pass_ms: use `FixedPassEngine` in place of the engine that the settings name.
    """

    def __init__(self, settings: Settings, pass_ms: float | None = None) -> None:
        engine = load_engine(settings.guard) if pass_ms is None else FixedPassEngine(pass_ms)
        self._counting = CountingEngine(engine)
        super().__init__(settings, self._counting)
        keep_collections_short()

    async def take_batch_sizes(self) -> list[int]:
        """Messages of each batch since the last call."""
        sizes, self._counting.sizes = self._counting.sizes, []
        return sizes

    async def machine(self) -> dict[str, object]:
        """What figures depend on beside the code, as this replica's process sees it."""
        from workers.bench.engine.machine import machine_of  # torch, as in `engine_choice`
        from workers.serving.engine.loading import resolve_device

        return machine_of(resolve_device(self._counting.identity.device))


class ServeBatchReplica(MeasuredReplica):
    """The same replica, batched by `@serve.batch` alone.

    Args:
        max_batch_size: as Serve names it.
        settings, pass_ms: see `MeasuredReplica`.
    """

    def __init__(self, settings: Settings, max_batch_size: int, pass_ms: float | None = None) -> None:
        super().__init__(settings, pass_ms)
        self._serve_batcher = ServeBatcher(self._run, max_batch_size)
        self._batcher = self._serve_batcher

    async def set_batch_wait_timeout_s(self, seconds: float) -> None:
        """As Serve names it: how long a batch waits for more after its first message."""
        self._serve_batcher.batched.set_batch_wait_timeout_s(seconds)


class ServeBatcher(Batcher[Item, Answer]):
    """`@serve.batch` behind the interface of our batcher; works inside a Serve replica only.

    Args:
        run: see `Batcher`; every item is a group of its own.
        max_batch_size: as Serve names it.
    """

    def __init__(
        self, run: Callable[[Sequence[Sequence[Item]]], Awaitable[Sequence[Answer]]], max_batch_size: int
    ) -> None:
        super().__init__(run, key=id, batch_tokens=0, batch_size=0)

        async def batched(items: list[Item]) -> list[tuple[Answer, float]]:
            started = perf_counter()
            return [(answer, started) for answer in await run([[item] for item in items])]

        self.batched = serve.batch(max_batch_size=max_batch_size)(batched)

    async def submit(self, items: Sequence[tuple[Item, int]], *, lane: Lane = Lane.LIVE) -> list[Batched[Answer]]:
        """See `Batcher`; tokens count for nothing, and nothing goes first."""
        del lane
        since = perf_counter()
        answered = await asyncio.gather(*(self.batched(item) for item, _ in items))
        return [Batched(answer, (started - since) * 1000, is_shared=False) for answer, started in answered]


class CountingEngine(Engine):
    """An engine that notes the size of every batch in `sizes`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.sizes: list[int] = []

    @property
    def identity(self) -> EngineIdentity:
        return self._engine.identity

    @property
    def concurrency(self) -> int:
        return self._engine.concurrency

    @property
    def batch_size(self) -> int | None:
        return self._engine.batch_size

    def close(self) -> None:
        self._engine.close()

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        return self._engine.prepare(conversation)

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        self.sizes.append(len(prompts))
        return self._engine.run(prompts)


class FixedPassEngine(Engine):
    """A stand-in for the model: every batch takes `pass_ms` milliseconds, and an answer names its message's digest.

    On a CPU a batch of n costs n times a message, so batching gains nothing; on a GPU, up to some hundreds of messages,
    it costs little more than one. This stands for that on a machine without a GPU.
    """

    def __init__(self, pass_ms: float) -> None:
        self.seconds = pass_ms / 1000
        name = f"{pass_ms:g} ms a batch"
        self._identity = EngineIdentity(name, "none", "none", "stand_in", "none", "cpu")

    @property
    def identity(self) -> EngineIdentity:
        return self._identity

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        text = str(conversation[-1]["content"]).encode()
        return PreparedPrompt(np.frombuffer(text, dtype=np.uint8).astype(np.int64), "prompt")

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        time.sleep(self.seconds)
        return [
            Completion(f"{crc32(prompt.token_ids.tobytes()):08x}", None, None, len(prompt), 1, "stop")
            for prompt in prompts
        ]
