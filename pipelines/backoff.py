"""Jittered exponential waits for what is down.

Does not wait itself and does not give up: the caller holds for as long as it must (P5).
"""

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Waits of `initial_s`, doubled up to `max_s`, each jittered to between half and the whole.

    Args:
        initial_s: first wait, seconds.
        max_s: longest wait, seconds.
        rng: source of the jitter.
    """

    initial_s: float
    max_s: float
    rng: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def next_wait_s(self) -> float:
        """Count one more failure and return how long to wait, in seconds."""
        ceiling = min(self.max_s, self.initial_s * float(1 << min(self.failures, 30)))
        self.failures += 1
        return ceiling * self.rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start over after a success."""
        self.failures = 0
