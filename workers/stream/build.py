"""Builds a stream worker from the settings and a guard: each part is made once and handed to those that use it.

Does not start it.
"""

import asyncio
import queue
import threading
import time
from functools import partial

from pipelines.backoff import Backoff
from pipelines.breaker.breaker import Breaker
from pipelines.guard import Guard
from pipelines.in_flight import InFlightLimits, Load
from pipelines.moderation import Moderation
from pipelines.policy import load_policy
from schemas.shadow import ShadowJudge
from workers.guard.setup import judge_of, moderation_of, policy_of
from workers.kafka.consumer import Consumer
from workers.kafka.producer import producer, transactional_id
from workers.kafka.reader import committed_offsets
from workers.settings.loading import Settings
from workers.shadow.lane import ShadowedModeration, ShadowLane
from workers.shadow.measures import observe_shadow
from workers.shadow.publisher import ShadowPublisher
from workers.stream.assignment import Assignment
from workers.stream.backlog import Backlog
from workers.stream.commits import Commits
from workers.stream.dead_letters import TooLarge
from workers.stream.decisions import Decisions, GuardCalls
from workers.stream.detours import Detours
from workers.stream.exactly_once import ExactlyOnce
from workers.stream.loop import Loop, Mailbox
from workers.stream.measures import observe_worker
from workers.stream.progress import OutcomeCounts, Progress
from workers.stream.publisher import AtLeastOnce, Publisher
from workers.stream.unreadable import UnreadablePartitions
from workers.stream.worker import StreamWorker
from workers.telemetry.export import Tracing
from workers.telemetry.message_sampling import LateSampling, MessageSampling
from workers.telemetry.message_spans import StreamSpans
from workers.telemetry.message_trace import StreamTracer


def stream_worker(
    settings: Settings,
    guard: Guard,
    loop: asyncio.AbstractEventLoop,
    tracing: Tracing,
    shadow: ShadowLane | None = None,
) -> StreamWorker:
    """A worker that judges with `guard` on `loop`, with a breaker of its own; `shadow` is shown what it decides."""
    clock = time.monotonic
    stopping = threading.Event()
    acknowledged: Mailbox = queue.SimpleQueue()
    progress = Progress(clock)
    consumer = Consumer(settings.kafka, settings.limits.max_event_bytes, settings.topics.events)
    limits = _limits(settings)
    assignment = Assignment(limits)
    breaker = Breaker(settings.breaker, policy_of(settings).sha256)
    tracer = tracer_of(settings, tracing)
    judge = judge_of(settings, guard, progress.held)
    moderation = moderation_of(settings, Moderation if shadow is None else partial(ShadowedModeration, shadow))
    outcomes = OutcomeCounts(settings.topics, settings.telemetry.tenants)
    backlog = Backlog(progress, clock)
    unreadable = UnreadablePartitions(clock, settings.limits.unreadable_after_s)
    observe_worker(
        settings.topics,
        settings.kafka.group_id,
        limits=limits,
        assignment=assignment,
        backlog=backlog,
        progress=progress,
        outcomes=outcomes,
        rebalances=consumer.rebalances,
        removed=lambda: consumer.removed,
        unreadable=unreadable.held,
        guard_calls=judge.calls,
        breaker=breaker,
    )
    calls = GuardCalls(judge, loop)
    publisher = _publisher(settings, consumer, breaker, tracer, progress, acknowledged)
    commits = Commits(
        consumer,
        assignment,
        breaker,
        tracer,
        interval_s=settings.delivery.commit_interval_s,
        is_named=settings.kafka.group_instance_id is not None,
        in_transaction=settings.delivery.mode == "exactly_once",
        clock=clock,
    )
    turns = Loop(
        kafka=settings.kafka,
        consumer=consumer,
        limits=limits,
        assignment=assignment,
        unreadable=unreadable,
        detours=Detours(consumer, assignment, unreadable, settings.kafka.heartbeat_interval_ms / 3000, stopping.wait),
        decisions=Decisions(moderation, assignment, tracer, breaker, settings.events.nothing_to_judge == "skip", clock),
        chunk_size=settings.delivery.chunk_size,
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
    )
    return StreamWorker(
        settings,
        turns,
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
    limits = settings.limits
    return InFlightLimits(
        Load(limits.in_flight_records, limits.in_flight_bytes, limits.in_flight_tokens), limits.resume_ratio
    )


def tracer_of(settings: Settings, tracing: Tracing) -> StreamTracer:
    """What traces the messages of one consumer."""
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


def _publisher(
    settings: Settings,
    consumer: Consumer,
    breaker: Breaker,
    tracer: StreamTracer,
    progress: Progress,
    acknowledged: Mailbox,
) -> Publisher:
    kafka, delivery = settings.kafka, settings.delivery
    stopping = threading.Event()
    backoff = Backoff(delivery.backoff_initial_s, delivery.backoff_max_s)
    way = AtLeastOnce(partial(producer, kafka), settings.topics, progress.publish_held, stopping)
    if delivery.mode == "exactly_once":
        way = ExactlyOnce(
            partial(producer, kafka, transactional_id(kafka)),
            settings.topics,
            progress.publish_held,
            stopping,
            backoff=backoff,
            member=consumer.metadata,
            baseline=breaker.baseline,
            lives=consumer.lives,
            stored=partial(committed_offsets, kafka),
        )
    return Publisher(
        way,
        kafka.linger_ms / 1000,
        backoff,
        acknowledged.put,
        progress.publish_held,
        consumer.is_member,
        TooLarge(kafka.group_id, tracer),
        stopping,
    )


def shadow_lane(settings: Settings, candidate: Guard | None, loop: asyncio.AbstractEventLoop) -> ShadowLane | None:
    """The lane that the settings ask for, if they do.

    Args:
        settings: all settings.
        candidate: guard of the candidate's model; None where it has live's.
        loop: for calls of it.

    Raises:
        ConfigurationError: a policy file is wrong.
    """
    if not settings.shadow.enabled:
        return None
    lane = ShadowLane(
        settings.shadow,
        moderation_of(settings.candidate()),
        None if candidate is None else judge_of(settings, candidate),
        loop,
        ShadowPublisher(partial(producer, settings.kafka), settings.topics.shadow),
        (_shadow_judge(settings), _shadow_judge(settings.candidate())),
        settings.delivery.chunk_size,
    )
    observe_shadow(lane)
    return lane


def _shadow_judge(settings: Settings) -> ShadowJudge:
    guard, policy = settings.guard, load_policy(settings.policy.file)
    return ShadowJudge(
        model=guard.model,
        revision=guard.revision,
        policy_name=policy.name,
        policy_version=policy.version,
        policy_sha256=policy.sha256,
    )
