"""Whether there is time for a question, before the guard is asked: by the wait that its tokens foretell.

Refusing at once costs nothing. A question that waits in vain costs the engine's time, and its sender's.
Knows nothing of HTTP or of texts.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf

from pipelines.guard import Guard, GuardReply, GuardRequest
from schemas.errors import AskRefusedError, GuardCrashError, GuardUnavailableError

# Of the time that is left. A question that is late after all has cost as much as one that is answered, so that a queue
# that ends just at the deadlines halves what is done.
SHARE = 0.6
LEARNS = 0.3  # share of the newest in what is known of the speed
# The same of a speed that is higher: of a batch that was about to end when a question came, all counts as done for it.
RISES = 0.05
FORGETS = 1.02  # by which the shortest time grows with each question
MEANINGFUL_S = 0.2  # a question given up sooner says nothing of the guard
MOST_LASTING_S = 10.0
# A guard that is replaced answers again within seconds, and questions may wait for that.
PATIENCE_S = 5.0


class Watch:
    """Whether something answers that is asked.

    Args:
        clock: seconds, monotonic.

    Attributes:
        last_answer: time of the latest one; None before the first.
        down_since: time of the first failure since then; None while it answers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.last_answer: float | None = None
        self.down_since: float | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """One call of it."""
        try:
            yield
        except (GuardUnavailableError, GuardCrashError):
            self.down_since = self.down_since or self._clock()
            raise
        self.last_answer, self.down_since = self._clock(), None

    @property
    def is_down(self) -> bool:
        """It has not answered for so long that a question had better come later."""
        return self.down_since is not None and self._clock() - self.down_since > PATIENCE_S


class WatchedGuard(Watch):
    """A guard, and whether it answers.

    Args:
        guard: the port.
        clock: seconds, monotonic.
    """

    def __init__(self, guard: Guard, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._guard = guard

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        with self.watched():
            return await self._guard.judge(requests)


class Seat:
    """A question under way.

    Attributes:
        engine_s: longest time of its items in the engine; 0 where all answers were there already.
    """

    engine_s = 0.0


class Admission:
    """Bounds what is under way, and refuses what would come too late.

    The guard's speed is learned from questions that the engine worked on: a wait is the shortest time that any took,
    and the tokens that were under way at the guard's speed. A small question alone says only that it is no lower. One
    that was given up, while others had their answers, says that it is no higher; what the engine still does for it
    counts as under way for a while.

    Args:
        guard: what is asked; whether it answers.
        most_tokens: under way at a time.
        most_items: the same.
        clock: seconds, monotonic; that of the deadlines.

    Attributes:
        offered: items that have come, those that were refused included.
        answered: items that had their answers.
    """

    def __init__(
        self, guard: Watch, most_tokens: int, most_items: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._guard = guard
        self._most_tokens = most_tokens
        self._most_items = most_items
        self._clock = clock
        self.tokens = 0
        self.items = 0
        self.offered = 0.0
        self.answered = 0
        self._mean_items = 1.0
        self._shortest_s = inf
        self._speed: float | None = None  # tokens a second
        self._given_up: deque[tuple[float, int, int]] = deque()

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
        self.offered += items
        self._mean_items += LEARNS * (items - self._mean_items)
        self.refuse_late(deadline, tokens, items)
        came = self._clock()
        self.tokens += tokens
        self.items += items
        under_way = self.tokens
        try:
            yield seat
        except BaseException:
            self._give_up(tokens, items, under_way, self._clock() - came)
            raise
        self.tokens -= tokens
        self.items -= items
        self.answered += items
        if seat.engine_s:
            self._note(under_way, under_way == tokens, max(self._clock() - came, seat.engine_s))

    def refuse_unread(self, deadline: float) -> None:
        """Refuse a question of any size, of which nobody knows how many items it holds.

        Raises:
            AskRefusedError: see `refuse_late`.
        """
        try:
            self.refuse_late(deadline)
        except AskRefusedError:
            self.offered += self._mean_items
            raise

    def refuse_late(self, deadline: float, tokens: int = 0, items: int = 0) -> None:
        """Refuse a question of so much, or any at all; see `admitted`.

        Raises:
            AskRefusedError: its answer would come after the deadline, or there is no room for it.
        """
        if self._guard.is_down:
            raise AskRefusedError("unavailable", "the guard does not answer", retry_after_s=PATIENCE_S)
        now = self._clock()
        self._forget(now)
        if not self.items:  # alone it takes as long as it takes
            return
        late_s = self.predicted_wait_s(tokens) - SHARE * (deadline - now)
        if self.tokens + tokens > self._most_tokens or self.items + items > self._most_items:
            late_s = max(late_s, 1.0)
        if late_s > 0:
            raise AskRefusedError("overloaded", "too much waits already", retry_after_s=max(1.0, late_s), sheds=True)

    def predicted_wait_s(self, tokens: int) -> float:
        """Seconds until a question of so many tokens would have its answer; 0 where that is not known."""
        return 0.0 if self._speed is None else self._shortest_s + (self.tokens + tokens) / self._speed

    def _note(self, under_way: int, is_alone: bool, seconds: float) -> None:
        self._shortest_s = min(seconds, self._shortest_s * FORGETS)
        beyond_s = seconds - self._shortest_s
        if beyond_s > self._shortest_s:
            seen = under_way / beyond_s
            if self._speed is None:
                self._speed = seen
            else:
                self._speed += (RISES if seen > self._speed else LEARNS) * (seen - self._speed)
        elif self._speed is not None:
            # Alone, it proves it; what others had done for them before it came is not its own.
            self._speed += (1.0 if is_alone else RISES) * max(0.0, under_way / seconds - self._speed)

    def _give_up(self, tokens: int, items: int, under_way: int, seconds: float) -> None:
        now = self._clock()
        has_answered = self._guard.last_answer is not None and self._guard.last_answer > now - seconds
        if seconds > MEANINGFUL_S and has_answered:
            self._speed = min(self._speed or inf, under_way / seconds)
            self._shortest_s = min(self._shortest_s, seconds)
        lasts_s = min(MOST_LASTING_S, tokens / self._speed) if self._speed else 0.0
        self._given_up.append((now + lasts_s, tokens, items))
        self._forget(now)

    def _forget(self, now: float) -> None:
        """What was given up is over after as long as it would have taken."""
        while self._given_up and self._given_up[0][0] <= now:
            _, tokens, items = self._given_up.popleft()
            self.tokens -= tokens
            self.items -= items
