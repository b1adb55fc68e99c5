"""What waits for the engine, by lane, and which of it makes the next batch.

Asks first, then live, then background, each in the order in which they came (decision 0025). Live keeps its share:
- Where live items wait, asks lengthen their batch by `ask_share` of its time at most, and on average by that share of
  what the engine has to spare: a batch that is longer lets more items come meanwhile, which makes the next one longer.
  Where live items are more than a batch holds, it is the whole share. An ask that is longer than that waits for a time
  without live; it is saved up for only where there has been none for a while.
- Where none waits, a batch of asks alone takes no longer than `1 + ask_share` times one of live alone, as long as live
  items have come lately; one place of several is left free. Where there is one place, and a pass takes its time for
  tokens, asks alone have a share of it: live items that come during such a batch are run together, and wait for each
  other.
Background has the engine while nothing else waits, a few items at a time; where batches that leave nothing waiting
follow one another without a gap, a few ride along (decision 0015).
Knows nothing of futures, engines or tasks.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import ceil, inf
from typing import Generic, NamedTuple, Protocol, TypeVar

from pipelines.guard import ASK_SHARE
from workers.guard.lane import Lane
from workers.serving.batching.live_load import LiveLoad
from workers.serving.batching.pass_cost import PassCost

PATIENCE = 16  # batches with live items in a row, before an ask that is too long to ride is saved up for
TIMES_LIVE = 2.5  # of the time that live takes, what asks alone may have where company is dear, `ask_share` at least
MOST_REST_S = 2.0
# Share of a pass that its tokens take: up to the first, company costs nothing; from the second on, it is dear.
CHEAP, DEAR = 0.4, 0.8


class Waiter(Protocol):
    """What waits."""

    call: object
    key: Hashable
    lane: Lane
    tokens: int

    @property
    def is_done(self) -> bool:
        """Nobody waits for it any more."""


class Bounds(NamedTuple):
    """Of batches; see `workers.serving.batching.batcher.Batcher`."""

    batch_tokens: int
    batch_size: int
    background_tokens: int = 1
    background_share: float = 0.0
    ask_share: float = ASK_SHARE
    concurrency: int = 1


class _Part(NamedTuple):
    tokens: int = 0
    size: int = 0
    longest: int = 0


Entry = TypeVar("Entry", bound=Waiter)


class Lanes(Generic[Entry]):
    """What waits.

    Args:
        bounds: of batches.
        clock: seconds, monotonic.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._waiting: dict[Lane, deque[Entry]] = {lane: deque() for lane in Lane}
        self.cost = PassCost()
        self._live_load = LiveLoad(self.cost, clock)
        self._clock = clock
        self._ask_credit = 0.0  # seconds by which asks may lengthen batches
        self._ask_usable = 0.0  # the same of the next one
        self._live_batches = 0  # in a row
        self._asks_from = 0.0  # time of the next batch of asks alone
        self._background_credit = 0.0  # tokens that background items may ride along with

    def add(self, entries: Sequence[Entry], lane: Lane) -> None:
        """They come last in their lane."""
        self._waiting[lane].extend(entries)
        if lane is Lane.LIVE and entries:
            self._live_load.note(_tokens({entry.key: entry for entry in entries}.values()))

    def put_back(self, entry: Entry) -> None:
        """It goes first in its lane."""
        self._waiting[entry.lane].appendleft(entry)

    def count(self, lane: Lane) -> int:
        """What waits in a lane."""
        return len(self._waiting[lane])

    def __iter__(self) -> Iterator[Entry]:
        """All that waits, in order."""
        return chain.from_iterable(self._waiting.values())

    def __bool__(self) -> bool:
        """Something waits."""
        return any(self._waiting.values())

    def drop_done(self) -> None:
        """Forget whatever nobody waits for any more."""
        for lane, queue in self._waiting.items():
            self._waiting[lane] = deque(entry for entry in queue if not entry.is_done)

    def take(self, running: Mapping[Hashable, list[Entry]], under_way: Mapping[Lane, int]) -> list[Entry]:
        """The next batch; nothing where what waits has to wait.

        Args:
            running: by the keys of items that the engine is at; what waits with an equal one goes there.
            under_way: batches by the lane of the first of their items.
        """
        bounds = self._bounds
        batch: list[Entry] = []
        asks, live, background = (self._waiting[lane] for lane in Lane)
        if asks and (live_part := self._live_part(live, running)).size:
            self._live_batches += 1
            self._earn_for_asks(asks[0], live_part, is_full=live_part.size < len(live))
            self._fill(batch, asks, bounds, running, self._ask_rides, beside=self._kept(live_part, len(live)))
            if asks and not batch and self._ask_usable >= self.cost.of(asks[0].tokens):  # too long to ride beside these
                self._fill(batch, asks, bounds, running, lambda _: not batch)
                self._ask_credit = 0.0
                return batch
        self._fill(batch, live, bounds, running)
        if not batch:
            self._live_batches = 0
            if under_way.get(Lane.ASK, 0) < self._most_ask_batches() and not self.rest_s():
                seconds = self._longest_s()
                within = lambda entry: not batch or self.cost.of(_tokens((*batch, entry))) <= seconds  # noqa: E731
                self._fill(batch, asks, bounds, running, within)
                self._asks_from = self._clock() + self._ask_turn_s(batch)
        if batch:
            if background and not asks and not live:
                self._earn_for_background(batch, background[0])
                self._fill(batch, background, bounds, running, self._background_rides)
        elif not asks and under_way.get(Lane.BACKGROUND, 0) < max(1, bounds.concurrency // 2):
            # Of one call, so that a batch that raises is not run again while live items wait.
            same_call = lambda entry: not batch or entry.call is batch[0].call  # noqa: E731
            self._fill(batch, background, bounds._replace(batch_tokens=bounds.background_tokens), running, same_call)
        return batch

    def rest_s(self) -> float:
        """Seconds for which asks that wait alone leave the engine free for live; 0 where none waits, or need not."""
        if not self._waiting[Lane.ASK] or self._bounds.concurrency > 1 or not self._live_load.comes:
            return 0.0
        return max(0.0, self._asks_from - self._clock())

    def _ask_turn_s(self, asks: list[Entry]) -> float:
        """From the start of a batch of asks alone to that of the next one."""
        if not self.cost.is_known:
            return 0.0
        load, seconds = self._live_load, self.cost.of(_tokens(asks))
        dear = min(1.0, max(0.0, (load.token_part() - CHEAP) / (DEAR - CHEAP)))
        share = 1 - dear * (1 - min(1.0, max(self._bounds.ask_share, TIMES_LIVE * load.busy())))
        return min(seconds / share, seconds + MOST_REST_S)

    def _live_part(self, live: deque[Entry], running: Mapping[Hashable, list[Entry]]) -> _Part:
        """Live items of the next batch, were it theirs alone."""
        part = _Part()
        for entry in live:
            if entry.is_done or entry.key in running:
                continue
            size, longest = part.size + 1, max(part.longest, entry.tokens)
            if part.size and (size > self._bounds.batch_size or longest * size > self._bounds.batch_tokens):
                break
            part = _Part(part.tokens + entry.tokens, size, longest)
        return part

    def _kept(self, live: _Part, waiting: int) -> _Part:
        """What asks leave to live of its batch: all of it, or its share where more waits."""
        least = ceil(live.size / (1 + self._bounds.ask_share))
        return live._replace(size=least) if live.size < waiting else live

    def _most_ask_batches(self) -> int:
        places = self._bounds.concurrency
        return max(1, places - 1) if self._live_load.comes else places

    def _longest_s(self) -> float:
        """Of a batch of asks alone; infinite where live is not felt to come."""
        return (1 + self._bounds.ask_share) * self._live_load.batch_s() if self._live_load.comes else inf

    def _earn_for_asks(self, first: Entry, live: _Part, *, is_full: bool) -> None:
        share = self._bounds.ask_share
        most = share * self.cost.of(live.tokens)
        earned = most if is_full else share * (1 - self._live_load.busy()) * self._live_load.batch_s()
        self._ask_credit = min(max(most, self.cost.of(first.tokens)), self._ask_credit + earned)
        is_saved = is_full or self._live_batches > PATIENCE
        self._ask_usable = self._ask_credit if is_saved else min(most, self._ask_credit)

    def _ask_rides(self, entry: Entry) -> bool:
        seconds = self.cost.token_s * entry.tokens
        if seconds > self._ask_usable:
            return False
        self._ask_usable -= seconds
        self._ask_credit -= seconds
        return True

    def _earn_for_background(self, batch: list[Entry], first: Entry) -> None:
        most = max(self._bounds.background_tokens, first.tokens)
        earned = self._bounds.background_share * _tokens(batch)
        self._background_credit = min(most, self._background_credit + earned)

    def _background_rides(self, entry: Entry) -> bool:
        if entry.tokens > self._background_credit:
            return False
        self._background_credit -= entry.tokens
        return True

    def _fill(
        self,
        batch: list[Entry],
        queue: deque[Entry],
        bounds: Bounds,
        running: Mapping[Hashable, list[Entry]],
        fits: Callable[[Entry], bool] = lambda _: True,
        beside: _Part = _Part(),  # noqa: B008 - a constant
    ) -> None:
        """Move items from the queue to the batch, in order, up to the first that is too much.

        `beside` is yet to come into it.
        """
        keys = {entry.key for entry in batch}
        longest = max((entry.tokens for entry in batch), default=beside.longest)
        while queue:
            entry = queue[0]
            if entry.is_done:
                queue.popleft()
                continue
            if entry.key in running:
                running[entry.key].append(queue.popleft())
                continue
            if entry.key not in keys:
                longest = max(longest, entry.tokens)
                size = len(keys) + beside.size + 1
                if size > 1 and (size > bounds.batch_size or longest * size > bounds.batch_tokens):
                    break
            if not fits(entry):
                break
            keys.add(entry.key)
            batch.append(queue.popleft())


def _tokens(entries: Iterable[Waiter]) -> int:
    return sum(entry.tokens for entry in entries)
