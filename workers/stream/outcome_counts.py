"""Acknowledged outcomes, counted by kind, a batch at a time.

Does not tell anybody; `workers.stream.measures` does.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from schemas.dead_letter import DeadLetter
from schemas.reasons import Reason
from schemas.verdict_writer import Kind, VerdictText
from workers.settings.sections import TopicSettings
from workers.stream.assignment import InFlightRecord
from workers.telemetry.metrics.table import OTHER_TENANT


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
