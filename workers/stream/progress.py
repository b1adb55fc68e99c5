"""A worker's progress: its loop turns, and outcomes are acknowledged, which are counted.

Whether it is stuck (P12): its loop does not turn, or nothing of what is in flight is completed. How long is too long is
learnt: a worker whose records complete within milliseconds is stuck long before one whose records take a minute.
Waiting for a guard or broker that is known to be down is not being stuck (P5). Does not act on the answer.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from schemas.dead_letter import DeadLetter
from schemas.handling import Handled
from schemas.reasons import Reason
from schemas.verdict_form import Kind
from schemas.verdict_writer import VerdictText
from workers.settings.sections import TopicSettings
from workers.stream.assignment import InFlightRecord
from workers.telemetry.metrics.table import OTHER_TENANT

FLOOR_S = 10.0  # pauses of a busy machine are no reason to replace a worker
DECAY = 0.99  # of the longest wait remembered, at each sign of progress


class Progress:
    """Times of the last signs of life, by a monotonic clock in seconds.

    Attributes:
        beat_at: when the loop turned.
        advanced_at: when records were completed, or the first ones came in.
        held_at: when something around the records was known to be down.
        usual_s: the longest recent wait for completed records; None before the first.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.beat_at = self.advanced_at = clock()
        self.held_at = -float("inf")
        self.usual_s: float | None = None
        self.completed = 0
        self.turns = 0
        self.publish_waits = 0

    def beat(self) -> None:
        """The loop has turned."""
        self.turns += 1
        self.beat_at = self._clock()

    def advanced(self, completed: int = 0) -> None:
        """Records were completed, or the first ones came in after an idle time."""
        now = self._clock()
        if completed:
            self.completed += completed
            self.usual_s = max(now - max(self.advanced_at, self.held_at), DECAY * (self.usual_s or 0.0))
        self.advanced_at = now

    def held(self) -> None:
        """Something around the records is known to be down."""
        self.held_at = self._clock()

    def publish_held(self) -> None:
        """The broker is what holds outcomes up."""
        self.publish_waits += 1
        self.held()


def stuck_reason(
    progress: Progress, now: float, timeout_s: float, in_flight: int, factor: float = float("inf")
) -> str | None:
    """Why a worker counts as stuck, or None.

    Args:
        progress: its last signs of life.
        now: seconds, by the same clock.
        timeout_s: longest time without a sign of life.
        in_flight: records in flight.
        factor: this many times the longest recent wait for a completed record is too long as well, from 10 s on.
    """
    if now - progress.beat_at > timeout_s:
        return f"the loop has not turned for {now - progress.beat_at:.0f} s"
    if progress.usual_s is not None:
        timeout_s = min(timeout_s, max(FLOOR_S, factor * progress.usual_s))
    if in_flight and now - max(progress.advanced_at, progress.held_at) > timeout_s:
        return f"{in_flight} records in flight and none completed for {now - progress.advanced_at:.0f} s"
    return None


class OutcomeCounts:
    """Counts since the start of one worker.

    Args:
        tenants: those that are counted apart from all others.

    Attributes:
        kinds: verdicts by kind and tenant; no tenant where none is counted apart.
        letters: dead letters by reason.
        skipped: records with nothing to judge, by reason.
        handled: what of judged events was repaired, dropped or not assessed.
        sent: records by topic.
    """

    def __init__(self, topics: TopicSettings, tenants: Collection[str]) -> None:
        self._topics = topics
        self._tenants = frozenset(tenants)
        self.kinds: Counter[tuple[Kind, str]] = Counter()
        self.letters: Counter[Reason] = Counter()
        self.skipped: Counter[Reason] = Counter()
        self.handled: Counter[Handled] = Counter()
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
        for handling in [text.handling for text in verdicts if text.handling]:
            self.handled.update(handling)
        if len(rulings) < len(items):
            self.skipped.update([item.skipped for item in items if item.skipped is not None])
        if len(verdicts) < len(rulings):
            letters = [ruling.outcome for ruling in rulings if isinstance(ruling.outcome, DeadLetter)]
            self.letters.update([letter.reason for letter in letters])
            self.sent[self._topics.dead_letters] += len(letters)
        self.sent.update([topic for ruling in rulings if ruling.topics for topic in ruling.topics])
