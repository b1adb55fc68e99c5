"""Which messages are traced for their end although nobody asked for their trace: dead letters, verdicts that are not
Safe, and slow ones (infra/decisions/0011).

Makes no spans.
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
        slow_s: a message is slow that took so long from its poll to its verdict.

    Attributes:
        slow_ns: the same in nanoseconds; centuries where slow ones are not of the ends.
    """

    def __init__(self, ends: Collection[End], slow_s: float) -> None:
        self._dead_letters = "dead_letter" in ends
        self._not_safe = "not_safe" in ends
        self.slow_ns = int(slow_s * 1e9) if "slow" in ends else 1 << 63

    def why(self, outcome: VerdictText | DeadLetter, took_ns: int) -> End | None:
        """The first of the ends that this is, None where it is none of them."""
        if type(outcome) is VerdictText:  # not isinstance: pydantic answers that of a dead letter in Python
            if self._not_safe and outcome.severity is not Severity.SAFE:
                return "not_safe"
        elif self._dead_letters:
            return "dead_letter"
        return "slow" if took_ns >= self.slow_ns else None
