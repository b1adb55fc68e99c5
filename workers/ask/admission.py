"""Whether there is time for a question, before the guard is asked: by the wait that its tokens foretell.

Refusing at once costs nothing. A question that waits in vain costs the engine's time, and its sender's.
Knows nothing of HTTP or of texts.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pipelines.guard import Guard, GuardReply, GuardRequest
from schemas.errors import AskRefusedError, GuardCrashError, GuardUnavailableError

BUCKET_S = 10.0
# A guard that is replaced answers again within seconds, and questions may wait for that.
PATIENCE_S = 5.0


class WatchedGuard:
    """A guard, and whether it answers.

    Args:
        guard: the port.
        clock: seconds, monotonic.

    Attributes:
        last_answer: time of the latest one; None before the first.
        down_since: time of the first failure since then; None while it answers.
    """

    def __init__(self, guard: Guard, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = guard
        self._clock = clock
        self.last_answer: float | None = None
        self.down_since: float | None = None

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        try:
            reply = await self._guard.judge(requests)
        except (GuardUnavailableError, GuardCrashError):
            self.down_since = self.down_since or self._clock()
            raise
        self.last_answer, self.down_since = self._clock(), None
        return reply

    @property
    def is_down(self) -> bool:
        """It has not answered for so long that a question had better come later."""
        return self.down_since is not None and self._clock() - self.down_since > PATIENCE_S


class Seat:
    """A question under way.

    Attributes:
        engine_s: longest time of its items in the engine; 0 where all answers were there already.
    """

    engine_s = 0.0


class Admission:
    """Bounds what is under way, and refuses what would come too late.

    The guard's speed is taken from questions that the engine worked on: tokens under way when one came, by the seconds
    that it took. The best of the last seconds counts, because a small question alone says little.

    Args:
        guard: asked whether it answers.
        most_tokens: under way at a time.
        most_items: the same.
        clock: seconds, monotonic; that of the deadlines.
    """

    def __init__(
        self, guard: WatchedGuard, most_tokens: int, most_items: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._guard = guard
        self._most_tokens = most_tokens
        self._most_items = most_items
        self._clock = clock
        self.tokens = 0
        self.items = 0
        self._since = clock()
        self._best, self._best_before = 0.0, 0.0

    @contextmanager
    def admitted(self, tokens: int, items: int, deadline: float) -> Iterator[Seat]:
        """Count a question as under way meanwhile.

        Raises:
            AskRefusedError: the guard is down, too much is under way, or the answer would come after the deadline.
        """
        seat = Seat()
        if not items:
            yield seat
            return
        now = self._clock()
        self._refuse(tokens, items, now, deadline)
        self.tokens += tokens
        self.items += items
        under_way = self.tokens
        try:
            yield seat
            if seat.engine_s:
                self._note(under_way, max(self._clock() - now, seat.engine_s))
        finally:
            self.tokens -= tokens
            self.items -= items

    def predicted_wait_s(self, tokens: int) -> float:
        """Seconds until a question of so many tokens would have its answer; 0 where that is not known."""
        speed = max(self._best, self._best_before)
        return (self.tokens + tokens) / speed if speed else 0.0

    def _refuse(self, tokens: int, items: int, now: float, deadline: float) -> None:
        if self._guard.is_down:
            raise AskRefusedError("unavailable", "the guard does not answer", retry_after_s=PATIENCE_S)
        if not self.items:  # alone it takes as long as it takes
            return
        late_s = self.predicted_wait_s(tokens) - (deadline - now)
        if self.tokens + tokens > self._most_tokens or self.items + items > self._most_items:
            late_s = max(late_s, 1.0)
        if late_s > 0:
            raise AskRefusedError("overloaded", "too much waits already", retry_after_s=max(1.0, late_s), sheds=True)

    def _note(self, under_way: int, seconds: float) -> None:
        now = self._clock()
        if now - self._since > BUCKET_S:
            self._best_before, self._best, self._since = self._best, 0.0, now
        self._best = max(self._best, under_way / seconds)
