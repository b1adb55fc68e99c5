"""When a call that is slow may be made a second time, on another server: of live messages, and seldom.

A server that hangs shows itself by its health check in seconds; messages need not wait for that. Calls nothing.
"""

from collections import deque
from typing import Final

RECENT: Final = 256  # answered calls that tell what is slow
ENOUGH: Final = 32  # before so many, nothing is known to be slow
SLOW: Final = 0.95  # a call is slow once so large a share of the recent ones took less
SAVED: Final = 8.0  # second calls at once, after a time without any


class Hedging:
    """What live calls took of late, and how many second calls they have earned. Used on one event loop.

    Args:
        share: second calls for each live call, at most; 0: none.

    Attributes:
        made: second calls so far; never more than `share` of the live calls.
    """

    def __init__(self, share: float) -> None:
        self.made = 0
        self._share = share
        self._earned = 0.0
        self._seconds: deque[float] = deque(maxlen=RECENT)

    def begin(self) -> float | None:
        """A live call begins: the seconds after which it is slow; None where that is not known."""
        self._earned = min(SAVED, self._earned + self._share)
        if not self._share or len(self._seconds) < ENOUGH:
            return None
        return sorted(self._seconds)[int(SLOW * len(self._seconds))]

    def take(self) -> bool:
        """Whether one more second call may be made; it counts as made then."""
        if self._earned < 1:
            return False
        self._earned -= 1
        self.made += 1
        return True

    def answered(self, seconds: float) -> None:
        """A live call was answered, by whichever server, so many seconds after it began."""
        self._seconds.append(seconds)
