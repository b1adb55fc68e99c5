"""Builds a delta worker from the settings and a way to the stream guard. Does not start it."""

import asyncio
import threading
import time
from functools import partial

from pipelines.backoff import Backoff
from pipelines.breaker.breaker import Breaker
from pipelines.policy import load_policy
from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import TurnJudge
from workers.deltas.delivery import SmallOrHeld, TurnDelivery
from workers.deltas.loop import DeltaLoop, TurnCalls
from workers.deltas.measures import observe_deltas
from workers.deltas.open_turns import OpenTurns
from workers.deltas.records import TurnAssignment
from workers.kafka.producer import producer
from workers.settings.loading import Settings
from workers.settings.stream_guard import delta_group
from workers.stream.parts import limits_of, parts_of
from workers.stream.publisher import Publisher
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
    limits = limits_of(settings, 2 * chosen.open_turns)  # a turn's first record stays: room for those of one partition
    assignment = TurnAssignment(limits)
    parts = parts_of(settings, tracing, limits, assignment, Breaker(settings.breaker))
    held, tracer = parts.progress.publish_held, parts.tracer
    new_backoff = partial(Backoff, delivery.backoff_initial_s, delivery.backoff_max_s)
    asker = TurnAsker(judge, new_backoff, parts.progress.held)
    guard = settings.stream_guard
    turns = OpenTurns(
        assignment=assignment,
        rules=TurnRules(
            guard.turn_characters, guard.held_frames, delivery.max_attempts, load_policy(settings.policy.file)
        ),
        most=chosen.open_turns,
        most_characters=chosen.open_characters,
        max_event_bytes=settings.limits.max_event_bytes,
        group=kafka.group_id,
        skips=settings.events.nothing_to_judge == "skip",
        new_trace=lambda record: tracer.start(record, time.time_ns()),
        clock=parts.clock,
    )
    observe_deltas(turns, asker.calls)
    stopping = threading.Event()
    publisher = Publisher(
        TurnDelivery(partial(producer, kafka), settings.topics, held, stopping),
        kafka.linger_ms / 1000,
        new_backoff(),
        parts.acknowledged.put,
        held,
        parts.consumer.is_member,
        SmallOrHeld(kafka.group_id, tracer),
        stopping,
    )
    turn = DeltaLoop(
        **vars(parts),
        calls=TurnCalls(asker, loop),
        publisher=publisher,
        turns=turns,
        topic=settings.topics.stream,
        idle_s=chosen.idle_s,
    )
    return StreamWorker(settings, turn)
