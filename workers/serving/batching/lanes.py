"""What waits for the engine, by lane, and which of it makes the next batch.

Asks first, then live, then background, each in the order in which they came (decision 0025). Live keeps its share: as
long as live items have come lately, asks may take a share of the time that has passed since asks were last begun.
- Where live items wait, it is `ask_share` of what the engine has to spare: a batch that is longer lets more items come
  meanwhile, which makes the next one longer. Where they are more than a batch holds, it is the whole `ask_share`.
  Asks lengthen a batch by that share of its time at most. One that is longer waits for a time without live; where there
  has been none for a while, it rides all the same.
- Where none waits, it is as much as live takes, and `ask_share` at least; several asks alone take no longer than
  `1 + ask_share` times a batch of live alone. Of several places one is left free, and the others are theirs.
Background has the engine while nothing else waits, a few items at a time; where batches that leave nothing waiting
follow one another without a gap, a few ride along (decision 0015).
Knows nothing of futures, engines or tasks.
"""

from collections import deque
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import ceil, inf
from typing import Generic, NamedTuple, Protocol, TypeVar

from pipelines.guard import ASK_SHARE
from workers.guard.lane import Lane
from workers.serving.batching.live_load import LiveLoad
from workers.serving.batching.pass_cost import PassCost

PATIENCE = 4  # turns for which an ask that is too long for company waits for a time without live
TICK_S = 0.001  # by which the end of a rest is late, so that it is none any more


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
        self._asks_since = -inf  # when asks were begun
        self._background_credit = 0.0  # tokens that background items may ride along with

    def add(self, entries: Sequence[Entry], lane: Lane) -> None:
        """They come last in their lane."""
        self._waiting[lane].extend(entries)
        if lane is Lane.LIVE and entries:
            self._live_load.note(_tokens({entry.key: entry for entry in entries}.values()))

    def put_back(self, entry: Entry) -> None:
        """It goes first in its lane."""
        self._waiting[entry.lane].appendleft(entry)

    def leaving(self, begun: Container[object]) -> list[Entry]:
        """What waits of other calls than these. It goes elsewhere, so it does not count as having come."""
        found = [entry for entry in self if entry.call not in begun and not entry.is_done]
        self._live_load.forget(_tokens(entry for entry in found if entry.lane is Lane.LIVE))
        return found

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
            load, is_full = self._live_load, live_part.size < len(live)
            share = bounds.ask_share * (1 if is_full else 1 - load.busy())
            live_s = self.cost.of(live_part.tokens) if is_full else load.batch_s()
            rides = self._within(share, share * live_s, PATIENCE)
            self._fill(batch, asks, bounds, running, rides, beside=self._kept(live_part, len(live)))
            if not batch:  # no place beside these
                self._fill(batch, asks, bounds, running, rides)
        elif asks and under_way.get(Lane.ASK, 0) < self._most_ask_batches():
            alone = self._within(self._share_alone(), self._longest_s() - self.cost.of(0))
            self._fill(batch, asks, bounds, running, alone)
        if batch:
            self._asks_since = self._clock()
        self._fill(batch, live, bounds, running)
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
        asks = self._waiting[Lane.ASK]
        rest_s = self._rest_of(asks[0].tokens, self._share_alone()) - self._since_asks_s() if asks else 0.0
        return rest_s + TICK_S if rest_s > 0 else 0.0

    def _rest_of(self, tokens: int, share: float) -> float:
        """Seconds between two batches of so many tokens of asks, where a share of the time is theirs."""
        return self.cost.token_s * tokens / share

    def _since_asks_s(self) -> float:
        """Of the engine since asks were last begun, each place's; endless where live is not felt to come."""
        since_s = (self._clock() - self._asks_since) * self._bounds.concurrency
        return since_s if self._live_load.comes and self.cost.is_known else inf

    def _share_alone(self) -> float:
        """Of the time, what asks may have where no live items wait."""
        return max(self._bounds.ask_share, self._live_load.busy()) if self._bounds.concurrency == 1 else inf

    def _longest_s(self) -> float:
        """Of a batch of asks alone."""
        return (1 + self._bounds.ask_share) * self._live_load.batch_s() if self._live_load.comes else inf

    def _within(self, share: float, longest_s: float, patience: int = 1) -> Callable[[Entry], bool]:
        """Whether one ask more fits: into their share of the time, and into so many seconds.

        The first may be longer than these, when its turn has come so many times over.
        """
        since_s, tokens = self._since_asks_s(), 0

        def fits(entry: Entry) -> bool:
            nonlocal tokens
            more = tokens + entry.tokens
            is_longer = self.cost.token_s * more > longest_s
            if (tokens and is_longer) or self._rest_of(more, share) * (patience if is_longer else 1) > since_s:
                return False
            tokens = more
            return True

        return fits

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
