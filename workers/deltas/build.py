"""Builds a delta worker from the settings and a way to the stream guard. Does not start it."""

import asyncio
import queue
import threading
import time
from functools import partial

from pipelines.backoff import Backoff
from pipelines.breaker.breaker import Breaker
from pipelines.in_flight import InFlightLimits, Load
from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnLimits
from pipelines.turns.port import TurnJudge
from workers.deltas.delivery import SmallOrHeld, TurnDelivery
from workers.deltas.loop import DeltaLoop, TurnCalls
from workers.deltas.measures import observe_deltas
from workers.deltas.open_turns import OpenTurns
from workers.deltas.records import TurnAssignment
from workers.kafka.consumer import Consumer
from workers.kafka.producer import producer
from workers.settings.loading import Settings
from workers.settings.stream_guard import delta_group
from workers.stream.backlog import Backlog
from workers.stream.build import tracer_of
from workers.stream.commits import Commits
from workers.stream.detours import Detours
from workers.stream.loop import Mailbox
from workers.stream.progress import OutcomeCounts, Progress
from workers.stream.publisher import Publisher
from workers.stream.unreadable import UnreadablePartitions
from workers.stream.worker import StreamWorker
from workers.telemetry.export import Tracing


def settings_of_lane(settings: Settings) -> Settings:
    """The settings as this lane has them: its own topic and group, at least once, and no breaker."""
    kafka = settings.kafka.model_copy(update={"group_id": delta_group(settings.kafka.group_id)})
    topics = settings.topics.model_copy(update={"events": (settings.topics.deltas,)})
    return settings.model_copy(
        update={
            "kafka": kafka,
            "topics": topics,
            "delivery": settings.delivery.model_copy(update={"mode": "at_least_once"}),
            "breaker": settings.breaker.model_copy(update={"enabled": False}),
        }
    )


def delta_worker(
    settings: Settings, judge: TurnJudge, loop: asyncio.AbstractEventLoop, tracing: Tracing
) -> StreamWorker:
    """A worker that has turns judged by `judge` on `loop`."""
    settings = settings_of_lane(settings)
    kafka, delivery, chosen = settings.kafka, settings.delivery, settings.deltas
    clock = time.monotonic
    stopping, publisher_stopping = threading.Event(), threading.Event()
    acknowledged: Mailbox = queue.SimpleQueue()
    progress = Progress(clock)
    consumer = Consumer(kafka, settings.limits.max_event_bytes, settings.topics.events)
    limits = _limits(settings)
    assignment = TurnAssignment(limits)
    breaker = Breaker(settings.breaker)
    tracer = tracer_of(settings, tracing)
    new_backoff = partial(Backoff, delivery.backoff_initial_s, delivery.backoff_max_s)
    asker = TurnAsker(judge, new_backoff, progress.held)
    outcomes = OutcomeCounts(settings.topics, settings.telemetry.tenants)
    backlog = Backlog(progress, clock)
    unreadable = UnreadablePartitions(clock, settings.limits.unreadable_after_s)
    guard = settings.stream_guard
    turns = OpenTurns(
        assignment=assignment,
        limits=TurnLimits(guard.turn_characters, guard.held_frames, delivery.max_attempts),
        most=chosen.open_turns,
        most_characters=chosen.open_characters,
        max_event_bytes=settings.limits.max_event_bytes,
        group=kafka.group_id,
        skips=settings.events.nothing_to_judge == "skip",
        new_trace=lambda record: tracer.start(record, time.time_ns()),
        clock=clock,
    )
    observe_deltas(turns, asker.calls)
    calls = TurnCalls(asker, loop)
    publisher = Publisher(
        TurnDelivery(partial(producer, kafka), settings.topics, progress.publish_held, publisher_stopping),
        kafka.linger_ms / 1000,
        new_backoff(),
        acknowledged.put,
        progress.publish_held,
        consumer.is_member,
        SmallOrHeld(kafka.group_id, tracer),
        publisher_stopping,
    )
    commits = Commits(
        consumer,
        assignment,
        breaker,
        tracer,
        interval_s=delivery.commit_interval_s,
        is_named=kafka.group_instance_id is not None,
        in_transaction=False,
        clock=clock,
    )
    turn = DeltaLoop(
        kafka=kafka,
        consumer=consumer,
        limits=limits,
        assignment=assignment,
        unreadable=unreadable,
        detours=Detours(consumer, assignment, unreadable, kafka.heartbeat_interval_ms / 3000, stopping.wait),
        chunk_size=delivery.chunk_size,
        calls=calls,
        publisher=publisher,
        acknowledged=acknowledged,
        commits=commits,
        outcomes=outcomes,
        progress=progress,
        backlog=backlog,
        tracer=tracer,
        breaker=breaker,
        clock=clock,
        turns=turns,
        topic=settings.topics.stream,
        idle_s=chosen.idle_s,
    )
    return StreamWorker(
        settings,
        turn,
        consumer=consumer,
        limits=limits,
        assignment=assignment,
        unreadable=unreadable,
        calls=calls,
        publisher=publisher,
        commits=commits,
        progress=progress,
        backlog=backlog,
        tracer=tracer,
        breaker=breaker,
        stopping=stopping,
        clock=clock,
    )


def _limits(settings: Settings) -> InFlightLimits:
    """Bounds on what is not judged yet. A turn's first record stays in flight: room for those of one partition."""
    limits = settings.limits
    records = limits.in_flight_records + 2 * settings.deltas.open_turns
    return InFlightLimits(Load(records, limits.in_flight_bytes, limits.in_flight_tokens), limits.resume_ratio)
