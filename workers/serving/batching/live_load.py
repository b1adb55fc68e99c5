"""What live items would have of an engine alone: the share that they keep busy, and the time of their batches.

Knows nothing of what waits.
"""

from collections.abc import Callable
from math import exp

from workers.serving.batching.pass_cost import PassCost

LATELY_S = 60.0
SPAN_S = 10.0  # over which the rate is taken
LEARNS = 0.1  # share of the newest call in what one holds
MOST_BUSY = 0.95


class LiveLoad:
    """Live calls as they come.

    Neither figure depends on what else the engine does. Figures of the batches that are run would: what makes them
    longer lets more items come meanwhile, which then seem to allow for more.

    Args:
        cost: of a pass.
        clock: seconds, monotonic.
    """

    def __init__(self, cost: PassCost, clock: Callable[[], float]) -> None:
        self._cost = cost
        self._clock = clock
        self._first: float | None = None
        self._last = 0.0
        self._recent = 0.0  # tokens, the older the fewer
        self._call = 0.0  # tokens of a call, on average

    def note(self, tokens: int) -> None:
        """A call has come."""
        now = self._clock()
        if self._first is None:
            self._first, self._last, self._call = now, now, tokens
        self._recent = self._recent * exp((self._last - now) / SPAN_S) + tokens
        self._call += LEARNS * (tokens - self._call)
        self._last = now

    def forget(self, tokens: int) -> None:
        """Calls that have come went elsewhere, from where they may come again."""
        self._recent = max(0.0, self._recent - tokens)

    @property
    def comes(self) -> bool:
        """There were live calls lately."""
        return self._first is not None and self._clock() - self._last < LATELY_S

    def busy(self) -> float:
        """Share of its time that the engine is at their tokens."""
        if self._first is None:
            return 0.0
        now = self._clock()
        seen = SPAN_S * (1 - exp((self._first - now) / SPAN_S))
        rate = self._recent * exp((self._last - now) / SPAN_S) / max(seen, 1.0)
        return min(MOST_BUSY, rate * self._cost.token_s)

    def batch_s(self) -> float:
        """Of one of their batches: of a call, or of what comes while such a batch runs."""
        return max(self._cost.of(self._call), self._cost.of(0) / (1 - self.busy()))
