"""The metrics of a stream worker: figures that it keeps anyway, read at each collection.

Changes nothing: the exporter's thread reads, without waiting, what other threads own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final, TypeVar

from pipelines.breaker.alarms import Cause
from pipelines.breaker.breaker import Breaker
from schemas.handling import Handled
from schemas.reasons import NOTHING_TO_JUDGE, STAGE_OF
from workers.settings.sections import TopicSettings
from workers.stream.parts import Parts
from workers.stream.progress import OutcomeCounts
from workers.telemetry.metrics import table
from workers.telemetry.metrics.instruments import Attributes, Observed, observe, observe_value
from workers.telemetry.metrics.table import GUARD_FAILURES, REBALANCE_EVENTS, TENANT

_Name = TypeVar("_Name", bound=str)
KAFKA: Final = {"messaging.system": "kafka"}


def observe_worker(topics: TopicSettings, group: str, parts: Parts, guard_calls: Mapping[str, int]) -> None:
    """Have the figures of one worker read at each collection; does nothing where there is no exporter.

    Args:
        topics: topic names.
        group: consumer group.
        parts: the worker's.
        guard_calls: calls of the guard by what became of them, as `pipelines.judging.Judge` counts.
    """
    limits, assignment, backlog = parts.limits, parts.assignment, parts.backlog
    progress, outcomes = parts.progress, parts.outcomes
    consumer = {**KAFKA, "messaging.consumer.group.name": group}
    consumer |= {"messaging.operation.name": "poll", "messaging.destination.name": ",".join(topics.events)}
    observe_value(table.CONSUMED, lambda: limits.taken, consumer)
    observe(table.SENT, lambda: _sent(outcomes))
    observe_value(table.BACKLOG, lambda: None if (now := backlog.figures()) is None else now.records)
    observe_value(table.OLDEST_AGE, lambda: None if (now := backlog.figures()) is None else now.oldest_age_s)
    observe_value(table.IN_FLIGHT_RECORDS, lambda: limits.records)
    observe_value(table.IN_FLIGHT_BYTES, lambda: limits.bytes)
    observe_value(table.IN_FLIGHT_TOKENS, lambda: limits.tokens)
    observe_value(table.INTAKE_PAUSED, lambda: int(assignment.is_full))
    observe_value(table.PARTITIONS, lambda: len(assignment.owned()))
    observe_value(table.COMPLETED, lambda: progress.completed)
    observe_value(table.COMMIT_LAG, lambda: sum([owned.offsets.exposed for owned in list(assignment.owned())]))
    observe(table.REBALANCES, _each(parts.consumer.rebalances, "moderation.rebalance.event", REBALANCE_EVENTS))
    observe_value(table.REMOVED, lambda: parts.consumer.removed)
    observe_value(table.UNREADABLE, lambda: len(parts.unreadable.held))
    observe(table.GUARD_CALLS, lambda: _guard_calls(guard_calls))
    observe_value(table.PUBLISH_WAITS, lambda: progress.publish_waits)
    observe(table.VERDICTS, lambda: _verdicts(outcomes))
    observe(table.CATEGORIES, lambda: _categories(outcomes))
    observe(table.DEAD_LETTERS, lambda: _dead_letters(outcomes))
    observe(table.SKIPPED, _each(outcomes.skipped, "moderation.reason", sorted(NOTHING_TO_JUDGE)))
    observe(table.HANDLED, _each(outcomes.handled, "moderation.handled", tuple(Handled)))
    _observe_breaker(parts.breaker)


def _sent(outcomes: OutcomeCounts) -> list[tuple[float, Attributes]]:
    send = {**KAFKA, "messaging.operation.name": "send"}
    return [(count, {**send, "messaging.destination.name": topic}) for topic, count in list(outcomes.sent.items())]


def _guard_calls(calls: Mapping[str, int]) -> list[tuple[float, Attributes]]:
    failed: list[tuple[float, Attributes]] = [(calls.get(name, 0), {"error.type": name}) for name in GUARD_FAILURES]
    return [(calls.get("answered", 0), {}), *failed]


def _verdicts(outcomes: OutcomeCounts) -> list[tuple[float, Attributes]]:
    counts: Counter[tuple[tuple[str, str], ...]] = Counter()
    for (kind, tenant), count in list(outcomes.kinds.items()):
        counts[("moderation.severity", kind.severity), ("moderation.action", kind.action), *_series(tenant)] += count
    return [(count, dict(series)) for series, count in counts.items()]


def _categories(outcomes: OutcomeCounts) -> list[tuple[float, Attributes]]:
    counts: Counter[tuple[tuple[str, str], ...]] = Counter()
    for (kind, tenant), count in list(outcomes.kinds.items()):
        for category in kind.categories:
            counts[("moderation.category", category), *_series(tenant)] += count
    return [(count, dict(series)) for series, count in counts.items()]


def _series(tenant: str) -> tuple[tuple[str, str], ...]:
    return ((TENANT.name, tenant),) if tenant else ()


def _dead_letters(outcomes: OutcomeCounts) -> list[tuple[float, Attributes]]:
    return [
        (count, {"error.type": reason, "moderation.stage": STAGE_OF[reason]})
        for reason, count in list(outcomes.letters.items())
    ]


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


def _each(counts: Mapping[_Name, int], attribute: str, values: Sequence[_Name]) -> Observed:
    return lambda: [(counts.get(value, 0), {attribute: value}) for value in values]
