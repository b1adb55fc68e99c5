"""Dynamic batching inside a replica: what waits when the engine is free becomes one batch, within a token budget.

Items of a lane are run in the order in which they came, so none starves; an item larger than the budget goes alone.
`workers.serving.batching.lanes` says which lane is whose turn.
An engine that takes several batches at a time has as many under way; one at a time is the rule.
Equal items that wait or run at the same time are run once. Each keeps a slot and a future of its own: all get the
answer, but none gets the error or the cancellation of another call.
A batch that raises is run again call by call and fails only the calls that raise by themselves. A caller that bisects
its own call must not be failed by the call beside it (P6), nor by the call whose equal item was run for both.
An error that says nothing of the items, such as a server that is gone, is everybody's, and nothing is run again.
While a batch takes far longer than is usual, calls that only wait for it are turned away (decision 0035).
`@serve.batch` does none of this (decision 0004).
Knows nothing of Ray, tokens' meaning or completions.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from math import inf
from operator import attrgetter
from time import perf_counter
from typing import Generic, NamedTuple, TypeVar, cast

from pipelines.guard import ASK_SHARE
from workers.guard.lane import Lane
from workers.serving.batching.lanes import Bounds, Lanes

# A batch is late that takes so many times as long as is usual for its tokens, and so many seconds.
LATE_TIMES, LATE_AFTER_S = 3.0, 1.0
FIRST_LATE_AFTER_S = 10.0  # of the first one: nothing is usual yet
# While one is, what waits is turned away once in so many seconds: meanwhile it counts, for whoever sends a call to the
# replica that has fewer.
AWAY_S = 0.25
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
    __slots__ = ("answer", "call", "item", "key", "lane", "since", "tokens")

    def __init__(
        self,
        call: object,
        item: Item,
        tokens: int,
        key: Hashable,
        answer: "asyncio.Future[Batched[Answer]]",
        lane: Lane,
        since: float,
    ) -> None:
        self.call = call
        self.item = item
        self.tokens = tokens
        self.key = key
        self.answer = answer
        self.lane = lane
        self.since = since

    @property
    def is_done(self) -> bool:
        """It has its answer, or was cancelled."""
        return self.answer.done()


class Batcher(Generic[Item, Answer]):
    """Feeds one engine from many callers.

    Args:
        run: runs one batch, of groups of equal items, and returns one answer per group, in order.
        key: equal for equal items.
        batch_tokens: bounds the number of groups times the longest item.
        batch_size: groups of one batch at most.
        background_tokens: the same as `batch_tokens` for a batch of background items.
        background_share: most tokens of background items that ride along, for each token of other batches.
        ask_share: of the time of a batch with live items, by which asks may lengthen it.
        concurrency: batches under way at a time; of background ones, half as many and at least one.
        blameless: errors that say nothing of a batch's items.
        late: makes what a call is turned away with; None: calls wait for a batch that is late.
        clock: seconds, monotonic.
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
        ask_share: float = ASK_SHARE,
        concurrency: int = 1,
        blameless: tuple[type[Exception], ...] = (),
        late: Callable[[], Exception] | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._run = run
        self._key = key
        bounds = Bounds(batch_tokens, batch_size, background_tokens, background_share, ask_share, concurrency)
        self._lanes = Lanes[_Pending[Item, Answer]](bounds, clock)
        self._concurrency = concurrency
        self._blameless = blameless
        self._late = late if concurrency == 1 else None  # beside a batch that is late, others go on
        self._clock = clock
        self._workers: set[asyncio.Task[None]] = set()
        self._under_way: Counter[Lane] = Counter()
        self._rest: asyncio.TimerHandle | None = None  # until asks may go on
        self._running: dict[Hashable, list[_Pending[Item, Answer]]] = {}  # by key, those that came meanwhile

    async def submit(self, items: Sequence[tuple[Item, int]], *, lane: Lane = Lane.LIVE) -> list[Batched[Answer]]:
        """Queue items and wait for their answers. They are in the queue before anything is awaited.

        Args:
            items: each with its number of tokens.
            lane: whose turn it is; background items may wait for however long it takes.

        Returns:
            What each item got, in order.

        Raises:
            Exception: what `run` raised for a batch of nothing but them, or what `late` made: they wait for a late one.
        """
        loop = asyncio.get_running_loop()
        call, since = object(), self._clock()
        pending = [
            _Pending[Item, Answer](call, item, tokens, self._key(item), loop.create_future(), lane, since)
            for item, tokens in items
        ]
        self._lanes.add(pending, lane)
        self._start_worker()
        try:
            return list(await asyncio.gather(*(entry.answer for entry in pending)))
        finally:
            # A caller that is cancelled, or fails with one item, leaves nothing behind in the queue.
            for entry in pending:
                entry.answer.cancel()
            if any(entry.answer.cancelled() for entry in pending):
                self._lanes.drop_done()

    def waiting(self, lane: Lane = Lane.LIVE) -> int:
        """Items of a lane that wait for the engine."""
        return self._lanes.count(lane)

    def usual_s(self, tokens: int) -> float:
        """Seconds that a batch of so many tokens takes at most, by those before it; infinite where there was none."""
        return self._lanes.cost.at_most(tokens)

    def _start_worker(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if len(self._workers) < self._concurrency:
            self._workers.add(asyncio.get_running_loop().create_task(self._work()))

    async def _work(self) -> None:
        batch: list[_Pending[Item, Answer]] = []
        try:
            while batch := self._take():
                if self._lanes:
                    self._start_worker()
                first = batch[0].lane
                self._under_way[first] += 1
                try:
                    await self._run_batch(batch)
                finally:
                    self._under_way[first] -= 1
                    self._requeue(batch)
        except BaseException:
            # Only if the run was cancelled because its loop or thread ends; no caller may hang then.
            for entry in (*batch, *self._lanes):
                entry.answer.cancel()
            raise
        finally:
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if self._rest is None and (rest_s := self._lanes.rest_s()):
                self._rest = asyncio.get_running_loop().call_later(rest_s, self._start_worker)

    def _take(self) -> list[_Pending[Item, Answer]]:
        batch = self._lanes.take(self._running, self._under_way)
        self._running.update((entry.key, []) for entry in batch)
        return batch

    def _requeue(self, batch: Sequence[_Pending[Item, Answer]]) -> None:
        """What waited for an equal item of this batch goes first, if it has no answer by now."""
        for key in {entry.key: None for entry in reversed(batch)}:
            for entry in reversed(self._running.pop(key)):
                if not entry.answer.done():
                    self._lanes.put_back(entry)

    async def _run_batch(self, batch: list[_Pending[Item, Answer]]) -> None:
        groups: dict[Hashable, list[_Pending[Item, Answer]]] = {}
        for entry in batch:
            groups.setdefault(entry.key, []).append(entry)
        tokens = sum(group[0].tokens for group in groups.values())
        started = self._clock()
        try:
            with self._others_turned_away(batch, tokens):
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
        self._lanes.cost.note(tokens, self._clock() - started)
        self._settle(groups, answers, started)

    @contextmanager
    def _others_turned_away(self, batch: list[_Pending[Item, Answer]], tokens: int) -> Iterator[None]:
        """While a batch runs, once it is late."""
        if self._late is None:
            yield
            return
        usual_s = self.usual_s(tokens)
        late_s = max(LATE_AFTER_S, LATE_TIMES * usual_s) if usual_s < inf else FIRST_LATE_AFTER_S
        self._next_away = asyncio.get_running_loop().call_later(late_s, self._turn_away, batch, self._late)
        try:
            yield
        finally:
            self._next_away.cancel()

    def _turn_away(self, batch: list[_Pending[Item, Answer]], late: Callable[[], Exception]) -> None:
        begun = {entry.call for entry in batch}  # elsewhere these might hang another replica
        for entry in self._lanes.leaving(begun):
            entry.answer.set_exception(late())
        self._lanes.drop_done()
        self._next_away = asyncio.get_running_loop().call_later(AWAY_S, self._turn_away, batch, late)

    def _settle(
        self, groups: Mapping[Hashable, Sequence[_Pending[Item, Answer]]], answers: Sequence[Answer], started: float
    ) -> None:
        """Give each group its answer, and those that wait in any lane with an equal item as well."""
        late = [entry for entry in self._lanes if entry.key in groups]
        late += [entry for key in groups for entry in self._running.get(key, ())]
        answer_by_key = dict(zip(groups, answers, strict=True))
        for entry in chain(chain.from_iterable(groups.values()), late):
            if not entry.answer.done():
                queue_ms = max(0.0, (started - entry.since) * 1000)
                is_shared = entry is not groups[entry.key][0]
                entry.answer.set_result(Batched(answer_by_key[entry.key], queue_ms, is_shared))
        if late:
            self._lanes.drop_done()
