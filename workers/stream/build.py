"""Builds a stream worker from the settings and a guard. Does not start it."""

import asyncio
import threading
from functools import partial

from pipelines.backoff import Backoff
from pipelines.breaker.breaker import Breaker
from pipelines.guard import Guard
from pipelines.moderation import Moderation
from pipelines.policy import load_policy
from schemas.shadow import ShadowJudge
from workers.guard.setup import judge_of, moderation_of, policy_of
from workers.kafka.producer import producer, transactional_id
from workers.kafka.reader import committed_offsets
from workers.settings.loading import Settings
from workers.shadow.lane import ShadowedModeration, ShadowLane
from workers.shadow.measures import observe_shadow
from workers.shadow.publisher import ShadowPublisher
from workers.stream.assignment import Assignment
from workers.stream.dead_letters import TooLarge
from workers.stream.decisions import Decisions, GuardCalls
from workers.stream.exactly_once import ExactlyOnce
from workers.stream.loop import Loop
from workers.stream.measures import observe_worker
from workers.stream.parts import Parts, limits_of, parts_of
from workers.stream.publisher import AtLeastOnce, Publisher
from workers.stream.worker import StreamWorker
from workers.telemetry.export import Tracing


def stream_worker(
    settings: Settings,
    guard: Guard,
    loop: asyncio.AbstractEventLoop,
    tracing: Tracing,
    shadow: ShadowLane | None = None,
) -> StreamWorker:
    """A worker that judges with `guard` on `loop`, with a breaker of its own; `shadow` is shown what it decides."""
    limits = limits_of(settings)
    parts = parts_of(
        settings, tracing, limits, Assignment(limits), Breaker(settings.breaker, policy_of(settings).sha256)
    )
    judge = judge_of(settings, guard, parts.progress.held)
    moderation = moderation_of(settings, Moderation if shadow is None else partial(ShadowedModeration, shadow))
    observe_worker(settings.topics, settings.kafka.group_id, parts, judge.calls)
    skips = settings.events.nothing_to_judge == "skip"
    turns = Loop(
        **vars(parts),
        decisions=Decisions(moderation, parts.assignment, parts.tracer, parts.breaker, skips, parts.clock),
        calls=GuardCalls(judge, loop),
        publisher=_publisher(settings, parts),
    )
    return StreamWorker(settings, turns)


def _publisher(settings: Settings, parts: Parts) -> Publisher:
    kafka, delivery, held = settings.kafka, settings.delivery, parts.progress.publish_held
    stopping = threading.Event()
    backoff = Backoff(delivery.backoff_initial_s, delivery.backoff_max_s)
    way = AtLeastOnce(partial(producer, kafka), settings.topics, held, stopping)
    if delivery.mode == "exactly_once":
        way = ExactlyOnce(
            partial(producer, kafka, transactional_id(kafka)),
            settings.topics,
            held,
            stopping,
            backoff=backoff,
            member=parts.consumer.metadata,
            baseline=parts.breaker.baseline,
            lives=parts.consumer.lives,
            stored=partial(committed_offsets, kafka),
        )
    return Publisher(
        way,
        kafka.linger_ms / 1000,
        backoff,
        parts.acknowledged.put,
        held,
        parts.consumer.is_member,
        TooLarge(kafka.group_id, parts.tracer),
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
