"""Dynamic batching inside a replica: what waits when the engine is free becomes one batch, within a token budget.

Items leave in the order in which they came, so none starves; an item larger than the budget goes alone.
An engine that takes several batches at a time has as many under way; one at a time is the rule.
Equal items that wait or run at the same time are run once. Each keeps a slot and a future of its own: all get the
answer, but none gets the error or the cancellation of another call.
A batch that raises is run again call by call and fails only the calls that raise by themselves. A caller that bisects
its own call must not be failed by the call beside it (P6), nor by the call whose equal item was run for both.
An error that says nothing of the items, such as a server that is gone, is everybody's, and nothing is run again.
Background items have the engine while no live item waits, a few at a time, so a live item waits for one short batch at
most. Where live batches follow one another without a gap and none is full, a few ride along (decision 0015).
`@serve.batch` does none of this (decision 0004).
Knows nothing of Ray, tokens' meaning or completions.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from itertools import chain, groupby
from operator import attrgetter
from time import perf_counter
from typing import Generic, NamedTuple, TypeVar, cast

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batched(NamedTuple, Generic[Answer]):
    """What one item got.

    Attributes:
        answer: its own, or that of an equal item.
        queue_ms: from its arrival to the start of the batch that gave the answer; 0 where that was running already.
        is_shared: another item was run in its place.
    """

    answer: Answer
    queue_ms: float
    is_shared: bool


class _Pending(Generic[Item, Answer]):
    __slots__ = ("answer", "background", "call", "item", "key", "since", "tokens")

    def __init__(
        self,
        call: object,
        item: Item,
        tokens: int,
        key: Hashable,
        answer: "asyncio.Future[Batched[Answer]]",
        background: bool,
    ) -> None:
        self.call = call
        self.item = item
        self.tokens = tokens
        self.key = key
        self.answer = answer
        self.background = background
        self.since = perf_counter()


class Batcher(Generic[Item, Answer]):
    """Feeds one engine from many callers.

    Args:
        run: runs one batch, of groups of equal items, and returns one answer per group, in order.
        key: equal for equal items.
        batch_tokens: bounds the number of groups times the longest item.
        batch_size: groups of one batch at most.
        background_tokens: the same as `batch_tokens` for a batch of background items.
        background_share: most tokens of background items that ride along, for each token of live batches.
        concurrency: batches under way at a time; of background ones, half as many and at least one.
        blameless: errors that say nothing of a batch's items.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Sequence[Item]]], Awaitable[Sequence[Answer]]],
        *,
        key: Callable[[Item], Hashable],
        batch_tokens: int,
        batch_size: int,
        background_tokens: int = 1,
        background_share: float = 0.0,
        concurrency: int = 1,
        blameless: tuple[type[Exception], ...] = (),
    ) -> None:
        self._run = run
        self._key = key
        self._batch_tokens = batch_tokens
        self._batch_size = batch_size
        self._background_tokens = background_tokens
        self._background_share = background_share
        self._credit = 0.0  # tokens that background items may ride along with
        self._live: deque[_Pending[Item, Answer]] = deque()
        self._background: deque[_Pending[Item, Answer]] = deque()
        self._concurrency = concurrency
        self._most_background = max(1, concurrency // 2)
        self._blameless = blameless
        self._workers: set[asyncio.Task[None]] = set()
        self._background_batches = 0
        self._running: dict[Hashable, list[_Pending[Item, Answer]]] = {}  # by key, those that came meanwhile

    async def submit(self, items: Sequence[tuple[Item, int]], *, background: bool = False) -> list[Batched[Answer]]:
        """Queue items and wait for their answers. They are in the queue before anything is awaited.

        Args:
            items: each with its number of tokens.
            background: run them only while no live item waits, however long that takes.

        Returns:
            What each item got, in order.

        Raises:
            Exception: what `run` raised for a batch of nothing but them.
        """
        loop = asyncio.get_running_loop()
        call = object()
        pending = [
            _Pending[Item, Answer](call, item, tokens, self._key(item), loop.create_future(), background)
            for item, tokens in items
        ]
        (self._background if background else self._live).extend(pending)
        self._start_worker()
        try:
            return list(await asyncio.gather(*(entry.answer for entry in pending)))
        finally:
            # A caller that is cancelled, or fails with one item, leaves nothing behind in the queue.
            for entry in pending:
                entry.answer.cancel()
            if any(entry.answer.cancelled() for entry in pending):
                self._drop_done()

    @property
    def waiting(self) -> int:
        """Live items that wait for the engine."""
        return len(self._live)

    @property
    def waiting_background(self) -> int:
        """Background items that wait for it."""
        return len(self._background)

    def _start_worker(self) -> None:
        if len(self._workers) < self._concurrency:
            self._workers.add(asyncio.get_running_loop().create_task(self._work()))

    async def _work(self) -> None:
        batch: list[_Pending[Item, Answer]] = []
        try:
            while batch := self._take():
                if self._live or self._background:
                    self._start_worker()
                is_background = batch[0].background
                self._background_batches += is_background
                try:
                    await self._run_batch(batch)
                finally:
                    self._background_batches -= is_background
                    self._requeue(batch)
        except BaseException:
            # Only if the run was cancelled because its loop or thread ends; no caller may hang then.
            for entry in (*batch, *self._live, *self._background):
                entry.answer.cancel()
            raise
        finally:
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _take(self) -> list[_Pending[Item, Answer]]:
        batch: list[_Pending[Item, Answer]] = []
        self._fill(batch, self._live, self._batch_tokens)
        if not batch:
            if self._background_batches >= self._most_background:
                return batch
            # Of one call, so that a batch that raises is not run again while live items wait.
            same_call = lambda entry: not batch or entry.call is batch[0].call  # noqa: E731
            self._fill(batch, self._background, self._background_tokens, same_call)
        elif self._background and not self._live:
            self._earn(batch)
            self._fill(batch, self._background, self._batch_tokens, self._rides)
        self._running.update((entry.key, []) for entry in batch)
        return batch

    def _requeue(self, batch: Sequence[_Pending[Item, Answer]]) -> None:
        """What waited for an equal item of this batch goes first, if it has no answer by now."""
        for key in {entry.key: None for entry in reversed(batch)}:
            for entry in reversed(self._running.pop(key)):
                if not entry.answer.done():
                    (self._background if entry.background else self._live).appendleft(entry)

    def _fill(
        self,
        batch: list[_Pending[Item, Answer]],
        queue: deque[_Pending[Item, Answer]],
        batch_tokens: int,
        fits: Callable[[_Pending[Item, Answer]], bool] = lambda _: True,
    ) -> None:
        """Move items from the queue to the batch, in order, up to the first that is too much."""
        keys = {entry.key for entry in batch}
        longest = max((entry.tokens for entry in batch), default=0)
        while queue:
            entry = queue[0]
            if entry.answer.done():  # cancelled
                queue.popleft()
                continue
            if entry.key in self._running:
                self._running[entry.key].append(queue.popleft())
                continue
            if entry.key not in keys:
                longest = max(longest, entry.tokens)
                if keys and (len(keys) == self._batch_size or longest * (len(keys) + 1) > batch_tokens):
                    break
            if not fits(entry):
                break
            keys.add(entry.key)
            batch.append(queue.popleft())

    def _earn(self, live: list[_Pending[Item, Answer]]) -> None:
        most = max(self._background_tokens, self._background[0].tokens)
        self._credit = min(most, self._credit + self._background_share * sum(entry.tokens for entry in live))

    def _rides(self, entry: _Pending[Item, Answer]) -> bool:
        if entry.tokens > self._credit:
            return False
        self._credit -= entry.tokens
        return True

    def _drop_done(self) -> None:
        self._live = deque(entry for entry in self._live if not entry.answer.done())
        self._background = deque(entry for entry in self._background if not entry.answer.done())

    async def _run_batch(self, batch: list[_Pending[Item, Answer]]) -> None:
        groups: dict[Hashable, list[_Pending[Item, Answer]]] = {}
        for entry in batch:
            groups.setdefault(entry.key, []).append(entry)
        started = perf_counter()
        try:
            answers = await self._run([[entry.item for entry in group] for group in groups.values()])
            if len(answers) != len(groups):
                raise ValueError(f"{len(answers)} answers to a batch of {len(groups)}")  # noqa: TRY301 - as an engine's own
        except Exception as error:  # noqa: BLE001 - whatever the engine raised belongs to this batch's callers
            shares = [list(share) for _, share in groupby(batch, key=attrgetter("call"))]
            if len(shares) > 1 and not isinstance(error, self._blameless):
                for share in shares:
                    await self._run_batch(share)
                return
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
            return
        self._settle(groups, answers, started)

    def _settle(
        self, groups: Mapping[Hashable, Sequence[_Pending[Item, Answer]]], answers: Sequence[Answer], started: float
    ) -> None:
        """Give each group its answer, and those that wait in either queue with an equal item as well."""
        late = [entry for entry in chain(self._live, self._background) if entry.key in groups]
        late += [entry for key in groups for entry in self._running.get(key, ())]
        answer_by_key = dict(zip(groups, answers, strict=True))
        for entry in chain(chain.from_iterable(groups.values()), late):
            if not entry.answer.done():
                queue_ms = max(0.0, (started - entry.since) * 1000)
                is_shared = entry is not groups[entry.key][0]
                entry.answer.set_result(Batched(answer_by_key[entry.key], queue_ms, is_shared))
        if late:
            self._drop_done()
