"""How much is asked and answered: what the guard's replicas are scaled by.

Knows nothing of replicas.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from workers.ask.admission import Admission

WINDOW_S = 10.0


class AskFigures(NamedTuple):
    """Of the Ask lane.

    Attributes:
        waiting: items under way.
        offered: items a second over the last ten, those that were refused for want of time included.
        answered: items a second.
    """

    waiting: int
    offered: float
    answered: float


class AskDemand:
    """Rates from what the admission counts.

    Args:
        admission: counts.
        clock: seconds, monotonic.
    """

    def __init__(self, admission: Admission, clock: Callable[[], float] = time.monotonic) -> None:
        self._admission = admission
        self._clock = clock
        self._seen = deque([(clock(), admission.offered, admission.answered)])

    def figures(self) -> AskFigures | None:
        """As they are now; None until there is enough to tell."""
        now, known = self._clock(), self._admission
        while len(self._seen) > 1 and now - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()
        since, offered, answered = self._seen[0]
        self._seen.append((now, known.offered, known.answered))
        passed = now - since
        if passed < 1:
            return None
        return AskFigures(known.items, (known.offered - offered) / passed, (known.answered - answered) / passed)
