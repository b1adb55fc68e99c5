"""Whether the worker makes progress (P12): its loop turns, and outcomes are acknowledged.

How long is too long is learnt: a worker whose records complete within milliseconds is stuck long before one whose
records take a minute. Waiting for a guard or broker that is known to be down is not being stuck (P5).
Does not act on the answer.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from schemas.dead_letter import DeadLetter
from schemas.reasons import Reason
from schemas.verdict_form import Kind
from schemas.verdict_writer import VerdictText
from workers.settings.sections import TopicSettings
from workers.stream.assignment import InFlightRecord
from workers.telemetry.metrics.table import OTHER_TENANT

FLOOR_S = 10.0  # pauses of a busy machine are no reason to replace a worker
DECAY = 0.99  # of the longest wait remembered, at each sign of progress


class Progress:
    """Times of the last signs of life.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        now = clock()
        self._beat = now
        self._advanced = now
        self._held = -float("inf")
        self._usual: float | None = None
        self.completed = 0
        self.turns = 0
        self.publish_waits = 0

    def beat(self) -> None:
        """The loop has turned."""
        self.turns += 1
        self._beat = self._clock()

    def advanced(self, completed: int = 0) -> None:
        """Records were completed, or the first ones came in after an idle time."""
        now = self._clock()
        if completed:
            self.completed += completed
            self._usual = max(now - max(self._advanced, self._held), DECAY * (self._usual or 0.0))
        self._advanced = now

    def held(self) -> None:
        """Something around the records is known to be down."""
        self._held = self._clock()

    def publish_held(self) -> None:
        """The broker is what holds outcomes up."""
        self.publish_waits += 1
        self.held()

    def stuck_reason(self, timeout_s: float, in_flight: int, factor: float = float("inf")) -> str | None:
        """Why this worker counts as stuck, or None.

        Args:
            timeout_s: longest time without a sign of life.
            in_flight: records in flight.
            factor: this many times the longest recent wait for a completed record is too long as well, from 10 s on.
        """
        now = self._clock()
        if now - self._beat > timeout_s:
            return f"the loop has not turned for {now - self._beat:.0f} s"
        if self._usual is not None:
            timeout_s = min(timeout_s, max(FLOOR_S, factor * self._usual))
        if in_flight and now - max(self._advanced, self._held) > timeout_s:
            return f"{in_flight} records in flight and none completed for {now - self._advanced:.0f} s"
        return None


class OutcomeCounts:
    """Counts since the start of one worker.

    Args:
        topics: topic names.
        tenants: those that are counted apart from all others.

    Attributes:
        kinds: verdicts by kind and tenant; no tenant where none is counted apart.
        letters: dead letters by reason.
        sent: records by topic.
    """

    def __init__(self, topics: TopicSettings, tenants: Collection[str]) -> None:
        self._topics = topics
        self._tenants = frozenset(tenants)
        self.kinds: Counter[tuple[Kind, str]] = Counter()
        self.letters: Counter[Reason] = Counter()
        self.sent: Counter[str] = Counter()

    def add(self, items: Sequence[InFlightRecord]) -> None:
        """Count acknowledged outcomes."""
        rulings = [item.ruling for item in items if item.ruling is not None]
        verdicts = [ruling.outcome for ruling in rulings if type(ruling.outcome) is VerdictText]
        if tenants := self._tenants:
            self.kinds.update(
                [(text.kind, text.tenant if text.tenant in tenants else OTHER_TENANT) for text in verdicts]
            )
        else:
            for kind, count in Counter([text.kind for text in verdicts]).items():
                self.kinds[kind, ""] += count
        self.sent[self._topics.verdicts] += len(verdicts)
        if len(verdicts) < len(rulings):
            letters = [ruling.outcome for ruling in rulings if isinstance(ruling.outcome, DeadLetter)]
            self.letters.update([letter.reason for letter in letters])
            self.sent[self._topics.dead_letters] += len(letters)
        self.sent.update([topic for ruling in rulings if ruling.topics for topic in ruling.topics])
