"""What a stream worker tells the metrics: figures that it keeps anyway are read when somebody collects them.

The hot path pays for one thing only: acknowledged outcomes are counted by kind, a batch at a time.
Never changes what it looks at: the exporter's thread reads, without waiting, what other threads own.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Final

from pipelines.breaker.breaker import Breaker, Cause
from schemas.dead_letter import DeadLetter
from schemas.reasons import STAGE_OF, Reason
from schemas.verdict_writer import Kind, VerdictText
from workers.settings.loading import Settings
from workers.stream.in_flight_record import InFlightRecord
from workers.stream.worker import StreamWorker
from workers.telemetry.metrics import table
from workers.telemetry.metrics.instruments import Attributes, Observed, observe, observe_value
from workers.telemetry.metrics.table import GUARD_FAILURES, OTHER_TENANT, REBALANCE_EVENTS, TENANT

KAFKA: Final = {"messaging.system": "kafka"}


class StreamMeasures:
    """Figures of one worker.

    Args:
        settings: all settings.
        guard_calls: calls of the guard by what became of them, as `pipelines.judging.Judge` counts.

    Attributes:
        rebalances: changes of the assignment by event; to be set before anything is read.
    """

    def __init__(self, settings: Settings, guard_calls: Mapping[str, int]) -> None:
        self._topics = settings.topics
        self._group = settings.kafka.group_id
        self._tenants = frozenset(settings.telemetry.tenants)
        self._guard_calls = guard_calls
        self.rebalances: Mapping[str, int] = {}
        self._kinds: Counter[tuple[Kind, str]] = Counter()  # and tenant, where any is listed
        self._letters: Counter[Reason] = Counter()
        self._sent: Counter[str] = Counter()
        self._publish_waits = 0

    # -- told by the publisher's thread ------------------------------------------------------------------------------

    def published(self, items: Sequence[InFlightRecord]) -> None:
        """Count acknowledged outcomes."""
        rulings = [item.ruling for item in items if item.ruling is not None]
        verdicts = [ruling.outcome for ruling in rulings if type(ruling.outcome) is VerdictText]
        if tenants := self._tenants:
            self._kinds.update(
                [(text.kind, text.tenant if text.tenant in tenants else OTHER_TENANT) for text in verdicts]
            )
        else:
            for kind, count in Counter([text.kind for text in verdicts]).items():
                self._kinds[kind, ""] += count
        self._sent[self._topics.verdicts] += len(verdicts)
        if len(verdicts) < len(rulings):
            letters = [ruling.outcome for ruling in rulings if isinstance(ruling.outcome, DeadLetter)]
            self._letters.update([letter.reason for letter in letters])
            self._sent[self._topics.dead_letters] += len(letters)
        self._sent.update([topic for ruling in rulings if ruling.topics for topic in ruling.topics])

    def publish_waited(self) -> None:
        """Count a wait of the publisher."""
        self._publish_waits += 1

    # -- read by the exporter's thread -------------------------------------------------------------------------------

    def observe(self, worker: StreamWorker) -> None:
        """Have everything read at each collection; does nothing where there is no exporter."""
        consumer = {**KAFKA, "messaging.consumer.group.name": self._group}
        consumer |= {"messaging.operation.name": "poll", "messaging.destination.name": ",".join(self._topics.events)}
        limits = worker.limits
        observe_value(table.CONSUMED, lambda: limits.taken, consumer)
        observe(table.SENT, self._read_sent)
        observe_value(table.BACKLOG, lambda: None if (now := worker.backlog.figures()) is None else now.records)
        observe_value(table.OLDEST_AGE, lambda: None if (now := worker.backlog.figures()) is None else now.oldest_age_s)
        observe_value(table.IN_FLIGHT_RECORDS, lambda: limits.records)
        observe_value(table.IN_FLIGHT_BYTES, lambda: limits.bytes)
        observe_value(table.IN_FLIGHT_TOKENS, lambda: limits.tokens)
        observe_value(table.INTAKE_PAUSED, lambda: int(limits.is_full))
        observe_value(table.PARTITIONS, lambda: len(worker.assignment.owned()))
        observe_value(table.COMPLETED, lambda: worker.progress.completed)
        observe_value(table.COMMIT_LAG, lambda: sum([part.offsets.exposed for part in list(worker.assignment.owned())]))
        observe(table.REBALANCES, _each(self.rebalances, "moderation.rebalance.event", REBALANCE_EVENTS))
        observe(table.GUARD_CALLS, self._read_guard_calls)
        observe_value(table.PUBLISH_WAITS, lambda: self._publish_waits)
        observe(table.VERDICTS, self._read_verdicts)
        observe(table.CATEGORIES, self._read_categories)
        observe(table.DEAD_LETTERS, self._read_dead_letters)
        _observe_breaker(worker.breaker)

    def _read_sent(self) -> list[tuple[float, Attributes]]:
        send = {**KAFKA, "messaging.operation.name": "send"}
        return [(count, {**send, "messaging.destination.name": topic}) for topic, count in list(self._sent.items())]

    def _read_guard_calls(self) -> list[tuple[float, Attributes]]:
        calls = self._guard_calls
        failed: list[tuple[float, Attributes]] = [(calls.get(name, 0), {"error.type": name}) for name in GUARD_FAILURES]
        return [(calls.get("answered", 0), {}), *failed]

    def _read_verdicts(self) -> list[tuple[float, Attributes]]:
        counts: Counter[tuple[tuple[str, str], ...]] = Counter()
        for kind, tenant, count in self._read_kinds():
            counts[("moderation.severity", kind.severity), ("moderation.action", kind.action), *tenant] += count
        return [(count, dict(series)) for series, count in counts.items()]

    def _read_categories(self) -> list[tuple[float, Attributes]]:
        counts: Counter[tuple[tuple[str, str], ...]] = Counter()
        for kind, tenant, count in self._read_kinds():
            for category in kind.categories:
                counts[("moderation.category", category), *tenant] += count
        return [(count, dict(series)) for series, count in counts.items()]

    def _read_dead_letters(self) -> list[tuple[float, Attributes]]:
        return [
            (count, {"error.type": reason, "moderation.stage": STAGE_OF[reason]})
            for reason, count in list(self._letters.items())
        ]

    def _read_kinds(self) -> Iterator[tuple[Kind, tuple[tuple[str, str], ...], int]]:
        for (kind, tenant), count in list(self._kinds.items()):
            yield kind, ((TENANT.name, tenant),) if tenant else (), count


def _observe_breaker(breaker: Breaker) -> None:
    def read_causes() -> list[tuple[float, Attributes]]:
        cause = breaker.view(monotonic()).cause
        return [(int(cause == each), {"moderation.breaker.cause": each}) for each in Cause]

    def read_drift() -> float | None:
        drift = breaker.view(monotonic()).drift
        return None if drift is None else drift.distance

    observe_value(table.BREAKER_OPEN, lambda: int(breaker.is_open))
    observe(table.BREAKER_CAUSES, read_causes)
    observe_value(table.DRIFT, read_drift)


def _each(counts: Mapping[str, int], attribute: str, values: Sequence[str]) -> Observed:
    return lambda: [(counts.get(value, 0), {attribute: value}) for value in values]
