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
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._worked = 0.0
        self._since: float | None = None
        self._samples: deque[tuple[float, float]] = deque([(clock(), 0.0)])

    def begin(self) -> None:
        """A batch begins."""
        self._since = self._clock()

    def end(self) -> None:
        """A batch has ended, well or badly."""
        if self._since is not None:
            self._worked += self._clock() - self._since
            self._since = None

    def share(self) -> float | None:
        """Share of the last ten seconds; None until there is enough to tell."""
        now = self._clock()
        worked = self._worked + (0.0 if self._since is None else now - self._since)
        while len(self._samples) > 1 and now - self._samples[1][0] >= WINDOW_S:
            self._samples.popleft()
        begun, before = self._samples[0]
        self._samples.append((now, worked))
        return None if now <= begun else min(1.0, (worked - before) / (now - begun))
