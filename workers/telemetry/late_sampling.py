"""Late sampling: dead letters, verdicts other than Safe and slow messages are traced, whatever their producer asked.

Decision 0011 says why. Makes no spans.
"""

from collections.abc import Collection
from typing import Literal

from schemas.dead_letter import DeadLetter
from schemas.verdict import Severity
from schemas.verdict_writer import VerdictText

End = Literal["dead_letter", "not_safe", "slow"]


class LateSampling:
    """The rule.

    Args:
        ends: those that are always traced.
        slow_s: a message that took this long from its poll to its verdict is slow.

    Attributes:
        slow_ns: the same in nanoseconds; centuries where slow messages are not always traced.
    """

    def __init__(self, ends: Collection[End], slow_s: float) -> None:
        self._dead_letters = "dead_letter" in ends
        self._not_safe = "not_safe" in ends
        self.slow_ns = int(slow_s * 1e9) if "slow" in ends else 1 << 63

    def why(self, outcome: VerdictText | DeadLetter, took_ns: int) -> End | None:
        """The end that this message has to be traced for; None where it has none."""
        if type(outcome) is VerdictText:  # not isinstance: pydantic answers that of a dead letter in Python
            if self._not_safe and outcome.severity is not Severity.SAFE:
                return "not_safe"
        elif self._dead_letters:
            return "dead_letter"
        return "slow" if took_ns >= self.slow_ns else None
