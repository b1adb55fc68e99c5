"""Whether the worker gets anywhere (P12): a loop that turns and outcomes that are acknowledged.

How long is too long is learnt: a worker whose records complete within milliseconds is stuck long before one whose
records take a minute. Waiting for a guard or broker that is known to be down is no lack of progress (P5).
Does not act on the answer.
"""

from collections.abc import Callable

FLOOR_S = 10.0  # pauses of a busy machine are no reason to replace a worker
DECAY = 0.99  # of the longest wait remembered, at each sign of progress


class Progress:
    """Times of the last signs of life.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        now = clock()
        self._beat = now
        self._advanced = now
        self._held = -float("inf")
        self._usual: float | None = None
        self.completed = 0
        self.turns = 0
        self.publish_waits = 0

    def beat(self) -> None:
        """The loop has turned."""
        self.turns += 1
        self._beat = self._clock()

    def advanced(self, completed: int = 0) -> None:
        """Records were completed, or the first ones came in after an idle time."""
        now = self._clock()
        if completed:
            self.completed += completed
            self._usual = max(now - max(self._advanced, self._held), DECAY * (self._usual or 0.0))
        self._advanced = now

    def held(self) -> None:
        """Something around the records is known to be down."""
        self._held = self._clock()

    def publish_held(self) -> None:
        """The broker is what holds outcomes up."""
        self.publish_waits += 1
        self.held()

    def stuck_reason(self, timeout_s: float, in_flight: int, factor: float = float("inf")) -> str | None:
        """Why this worker counts as stuck, or None.

        Args:
            timeout_s: longest time without a sign of life.
            in_flight: records in flight.
            factor: so many times the longest recent wait for a completed record is too long, too, from 10 s on.
        """
        now = self._clock()
        if now - self._beat > timeout_s:
            return f"the loop has not turned for {now - self._beat:.0f} s"
        if self._usual is not None:
            timeout_s = min(timeout_s, max(FLOOR_S, factor * self._usual))
        if in_flight and now - max(self._advanced, self._held) > timeout_s:
            return f"{in_flight} records in flight and none completed for {now - self._advanced:.0f} s"
        return None
