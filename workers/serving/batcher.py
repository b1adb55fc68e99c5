"""Dynamic batching inside a replica: what waits when the engine is free becomes one batch, within a token budget.

Items leave in the order in which they came, so none starves; an item larger than the budget goes alone.
A batch that raises is run again call by call, and fails only the calls that raise by themselves: whoever bisects its
own call must not be failed by the call beside it (P6). `@serve.batch` does not do this (infra/decisions/0004).
Knows nothing of Ray, tokens' meaning or judgements.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from operator import attrgetter
from time import perf_counter
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Pending(Generic[Item, Answer]):
    __slots__ = ("answer", "call", "item", "since", "tokens")

    def __init__(self, call: object, item: Item, tokens: int, answer: "asyncio.Future[tuple[Answer, float]]") -> None:
        self.call = call
        self.item = item
        self.tokens = tokens
        self.answer = answer
        self.since = perf_counter()


class Batcher(Generic[Item, Answer]):
    """Feeds one engine from many callers.

    Args:
        run: runs one batch and returns one answer per item, in order.
        batch_tokens: items times the longest of them stays within this.
        batch_size: items of one batch at most.
    """

    def __init__(
        self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], *, batch_tokens: int, batch_size: int
    ) -> None:
        self._run = run
        self._batch_tokens = batch_tokens
        self._batch_size = batch_size
        self._waiting: deque[_Pending[Item, Answer]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[tuple[Item, int]]) -> list[tuple[Answer, float]]:
        """Queue items and wait for their answers.

        Args:
            items: each with its number of tokens.

        Returns:
            For each item its answer and the milliseconds that it waited for its batch.

        Raises:
            Exception: what `run` raised for a batch of nothing but them.
        """
        loop = asyncio.get_running_loop()
        call = object()
        pending = [_Pending[Item, Answer](call, item, tokens, loop.create_future()) for item, tokens in items]
        self._waiting.extend(pending)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        try:
            return list(await asyncio.gather(*(entry.answer for entry in pending)))
        finally:
            # A caller that is cancelled, or fails with one item, leaves nothing behind in the queue.
            for entry in pending:
                entry.answer.cancel()
            if any(entry.answer.cancelled() for entry in pending):
                self._waiting = deque(entry for entry in self._waiting if not entry.answer.done())

    @property
    def waiting(self) -> int:
        """Items that wait for the engine."""
        return len(self._waiting)

    async def _work(self) -> None:
        batch: list[_Pending[Item, Answer]] = []
        try:
            while batch := self._take():
                await self._run_batch(batch)
        finally:
            self._worker = None
            # Something is left only where the run was cancelled, because its loop or thread ends: nobody shall wait.
            for entry in (*batch, *self._waiting):
                entry.answer.cancel()

    def _take(self) -> list[_Pending[Item, Answer]]:
        batch: list[_Pending[Item, Answer]] = []
        longest = 0
        while self._waiting and len(batch) < self._batch_size:
            if self._waiting[0].answer.done():  # cancelled
                self._waiting.popleft()
                continue
            longest = max(longest, self._waiting[0].tokens)
            if batch and longest * (len(batch) + 1) > self._batch_tokens:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _run_batch(self, batch: list[_Pending[Item, Answer]]) -> None:
        started = perf_counter()
        try:
            answers = await self._run([entry.item for entry in batch])
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} answers to a batch of {len(batch)}")  # noqa: TRY301 - as an engine's own
        except Exception as error:  # noqa: BLE001 - whatever the engine raised belongs to this batch's callers
            shares = [list(share) for _, share in groupby(batch, key=attrgetter("call"))]
            if len(shares) > 1:
                for share in shares:
                    await self._run_batch(share)
                return
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
            return
        for entry, answer in zip(batch, answers, strict=True):
            if not entry.answer.done():
                entry.answer.set_result((answer, (started - entry.since) * 1000))
