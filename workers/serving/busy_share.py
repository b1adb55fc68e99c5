"""How much of its time a replica's engine works.

Knows nothing of what it works on.
"""

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 10.0


class BusyShare:
    """Adds up the time of batches.

    Args:
        clock: seconds, monotonic.
        slots: batches that may be under way at a time; an engine that has half as many works half of its time.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, slots: int = 1) -> None:
        self._clock = clock
        self._slots = slots
        self._worked = 0.0
        self._running = 0
        self._since = clock()
        self._samples: deque[tuple[float, float]] = deque([(clock(), 0.0)])

    def begin(self) -> None:
        """A batch begins."""
        self._count()
        self._running += 1

    def end(self) -> None:
        """A batch that was begun has ended, well or badly."""
        self._count()
        self._running -= 1

    def _count(self) -> float:
        now = self._clock()
        self._worked += (now - self._since) * self._running / self._slots
        self._since = now
        return now

    def share(self) -> float | None:
        """Share of the last ten seconds; None until there is enough to tell."""
        now = self._count()
        while len(self._samples) > 1 and now - self._samples[1][0] >= WINDOW_S:
            self._samples.popleft()
        begun, before = self._samples[0]
        self._samples.append((now, self._worked))
        return None if now <= begun else min(1.0, (self._worked - before) / (now - begun))
