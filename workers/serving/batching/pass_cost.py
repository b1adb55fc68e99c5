"""What a pass of the engine takes: a time of its own, and one for each token; learned from passes.

Knows nothing of lanes.
"""

from math import inf

LEARNS = 0.05  # share of the newest pass in what is known
LEAST_SLOPE = 0.02  # of the mean time for a token: an engine that is hardly slower with more of them


class PassCost:
    """A line through what passes took. Until one is known, a token costs one unit and a pass nothing."""

    def __init__(self) -> None:
        self._tokens = self._seconds = self._squares = self._products = 0.0

    def note(self, tokens: int, seconds: float) -> None:
        """Learn from a pass."""
        learns = LEARNS if self._tokens else 1.0
        self._tokens += learns * (tokens - self._tokens)
        self._seconds += learns * (seconds - self._seconds)
        self._squares += learns * (tokens * tokens - self._squares)
        self._products += learns * (tokens * seconds - self._products)

    @property
    def is_known(self) -> bool:
        """Passes were run."""
        return bool(self._tokens and self._seconds)

    @property
    def token_s(self) -> float:
        """Seconds of one token more."""
        if not self.is_known:
            return 1.0
        mean = self._seconds / self._tokens
        spread = self._squares - self._tokens**2
        if spread < (0.01 * self._tokens) ** 2:  # all of one size: no telling what a pass alone takes
            return mean
        return min(mean, max(LEAST_SLOPE * mean, (self._products - self._tokens * self._seconds) / spread))

    def of(self, tokens: float) -> float:
        """Seconds of a pass."""
        token_s = self.token_s
        return max(0.0, self._seconds - token_s * self._tokens) + token_s * tokens

    def at_most(self, tokens: float) -> float:
        """Seconds that a pass may take and be a usual one: a token of a large one costs no more than of a mean one."""
        return max(self.of(tokens), tokens * self._seconds / self._tokens) if self.is_known else inf
