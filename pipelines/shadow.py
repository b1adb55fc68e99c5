"""The rules of the shadow lane: which records are in its sample, how two outcomes differ, and what that adds up to.

Knows nothing of who judges, of queues or of Kafka.
"""

from collections import Counter
from hashlib import blake2b

from pipelines.moderation import Outcome
from schemas.dead_letter import DeadLetter
from schemas.record import SourceRecord
from schemas.shadow import Difference, Label, ShadowDisagreement, ShadowOutcome, ShadowPair
from schemas.verdict import Source

_BYTES = 8


def is_sampled(record: SourceRecord, share: float) -> bool:
    """Whether a record is in the sample: chosen by its source, so that no sender can choose its way out of it, or in.

    Always the same for a record; a larger share has all that a smaller one has.
    """
    digest = blake2b(record.record_id.encode(), digest_size=_BYTES).digest()
    return bool(int.from_bytes(digest) < share * 2 ** (8 * _BYTES))


def differences(live: Outcome, candidate: Outcome) -> tuple[Difference, ...]:
    """How the candidate's outcome differs from the live one; nothing where they agree."""
    if isinstance(live, DeadLetter) or isinstance(candidate, DeadLetter):
        reasons = {outcome.reason if isinstance(outcome, DeadLetter) else None for outcome in (live, candidate)}
        return () if len(reasons) == 1 else (Difference.OUTCOME,)
    one, other = live.kind, candidate.kind
    found = {
        Difference.SEVERITY: one.severity is not other.severity,
        Difference.CATEGORIES: set(one.categories) != set(other.categories),
        Difference.REFUSAL: one.refusal is not other.refusal,
        Difference.ACTION: one.action is not other.action,
    }
    return tuple(difference for difference, differs in found.items() if differs)


def label_of(outcome: Outcome) -> Label:
    """The severity, or that there is none."""
    return "dead_letter" if isinstance(outcome, DeadLetter) else outcome.severity


def disagreement(
    event_id: str, source: Source, found: tuple[Difference, ...], live: Outcome, candidate: Outcome
) -> ShadowDisagreement:
    """What is written about an event that the candidate would have treated otherwise."""
    return ShadowDisagreement(
        event_id=event_id, source=source, differences=found, live=_side(live), candidate=_side(candidate)
    )


class AgreementCounts:
    """Counts of compared outcomes."""

    def __init__(self) -> None:
        self.agreed = self.disagreed = 0
        self.differences: Counter[Difference] = Counter()
        self._pairs: Counter[tuple[Label, Label]] = Counter()

    def add(self, live: Outcome, candidate: Outcome) -> tuple[Difference, ...]:
        """Count one event; returns how its outcomes differ."""
        found = differences(live, candidate)
        self._pairs[label_of(live), label_of(candidate)] += 1
        self.differences.update(found)
        if found:
            self.disagreed += 1
        else:
            self.agreed += 1
        return found

    @property
    def pairs(self) -> tuple[ShadowPair, ...]:
        """What live said, what the candidate said, and how often."""
        return tuple(
            ShadowPair(live=live, candidate=candidate, count=count)
            for (live, candidate), count in list(self._pairs.items())
        )


def _side(outcome: Outcome) -> ShadowOutcome:
    # Of a dead letter the reason alone: it holds the event itself.
    if isinstance(outcome, DeadLetter):
        return ShadowOutcome(verdict=None, reason=outcome.reason)
    return ShadowOutcome(verdict=outcome.read(), reason=None)
