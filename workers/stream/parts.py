"""What every consumer is made of, whatever becomes of its records: each part is made once, for all that use it.

`workers.stream.build` and `workers.deltas.build` add what is their own. Starts nothing.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.breaker.breaker import Breaker
from pipelines.in_flight import InFlightLimits, Load
from workers.kafka.consumer import Consumer
from workers.settings.loading import Settings
from workers.settings.sections import KafkaSettings
from workers.stream.assignment import Assignment
from workers.stream.backlog import Backlog
from workers.stream.commits import Commits
from workers.stream.decisions import Items
from workers.stream.detours import Detours
from workers.stream.progress import OutcomeCounts, Progress
from workers.stream.unreadable import UnreadablePartitions
from workers.telemetry.export import Tracing
from workers.telemetry.message_sampling import LateSampling, MessageSampling
from workers.telemetry.message_spans import StreamSpans
from workers.telemetry.message_trace import StreamTracer

Mailbox = queue.SimpleQueue[Items]


@dataclass(kw_only=True, eq=False)
class Parts:
    """The parts of one consumer.

    Args:
        consumer: a member of the group, not yet connected.
        limits: what is in flight, and how much may be.
        assignment: the partitions that are owned.
        unreadable: partitions that cannot be read for now.
        chunk_size: records of one call of the guard.
        acknowledged: where the publisher puts what the broker has.
        progress: signs of life.
        backlog: measures what is unfinished.
        breaker: while it is open, nothing is taken in, released or committed.
        stopping: set when the worker is to stop.
        clock: seconds, monotonic.
    """

    kafka: KafkaSettings
    consumer: Consumer
    limits: InFlightLimits
    assignment: Assignment
    unreadable: UnreadablePartitions
    detours: Detours
    chunk_size: int
    acknowledged: Mailbox
    commits: Commits
    outcomes: OutcomeCounts
    progress: Progress
    backlog: Backlog
    tracer: StreamTracer
    breaker: Breaker
    stopping: threading.Event
    clock: Callable[[], float]


def parts_of(
    settings: Settings, tracing: Tracing, limits: InFlightLimits, assignment: Assignment, breaker: Breaker
) -> Parts:
    """The parts that the settings ask for, around those that differ from lane to lane."""
    kafka, delivery = settings.kafka, settings.delivery
    clock = time.monotonic
    stopping = threading.Event()
    progress = Progress(clock)
    consumer = Consumer(kafka, settings.limits.max_event_bytes, settings.topics.events)
    tracer = _tracer(settings, tracing)
    unreadable = UnreadablePartitions(clock, settings.limits.unreadable_after_s)
    return Parts(
        kafka=kafka,
        consumer=consumer,
        limits=limits,
        assignment=assignment,
        unreadable=unreadable,
        detours=Detours(consumer, assignment, unreadable, kafka.heartbeat_interval_ms / 3000, stopping.wait),
        chunk_size=delivery.chunk_size,
        acknowledged=queue.SimpleQueue(),
        commits=Commits(
            consumer,
            assignment,
            breaker,
            tracer,
            interval_s=delivery.commit_interval_s,
            is_named=kafka.group_instance_id is not None,
            in_transaction=delivery.mode == "exactly_once",
            clock=clock,
        ),
        outcomes=OutcomeCounts(settings.topics, settings.telemetry.tenants),
        progress=progress,
        backlog=Backlog(progress, clock),
        tracer=tracer,
        breaker=breaker,
        stopping=stopping,
        clock=clock,
    )


def limits_of(settings: Settings, resting: int = 0) -> InFlightLimits:
    """Bounds on what is not judged yet; `resting` records may be in flight beside, that wait for no judgement."""
    limits = settings.limits
    most = Load(limits.in_flight_records + resting, limits.in_flight_bytes, limits.in_flight_tokens)
    return InFlightLimits(most, limits.resume_ratio)


def _tracer(settings: Settings, tracing: Tracing) -> StreamTracer:
    telemetry = settings.telemetry
    as_child = telemetry.process_span == "child"
    spans = StreamSpans(tracing.emit, as_child=as_child, group=settings.kafka.group_id)
    sampling = MessageSampling(
        spans,
        tracing.samples,
        parent_decides=tracing.parent_decides,
        as_child=as_child,
        late=LateSampling(telemetry.always_sample, telemetry.slow_s),
    )
    return StreamTracer(spans, sampling, enabled=tracing.enabled)
