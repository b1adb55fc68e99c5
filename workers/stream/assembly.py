"""Puts a stream worker together from the settings and a guard.

Does not start it.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from pipelines.backoff import Backoff
from pipelines.breaker.breaker import Breaker
from pipelines.guard import Guard
from pipelines.moderation import Moderation
from pipelines.policy import load_policy
from schemas.shadow import ShadowJudge
from workers.guard.setup import judge_of, moderation_of
from workers.kafka.consumer import group_consumer
from workers.kafka.membership import Membership
from workers.kafka.producer import producer, transactional_id
from workers.kafka.reader import committed_offsets
from workers.settings.loading import Settings
from workers.shadow.lane import ShadowedModeration, ShadowLane
from workers.shadow.measures import observe_shadow
from workers.shadow.publisher import ShadowPublisher
from workers.stream.in_flight_record import InFlightRecord
from workers.stream.measures import StreamMeasures
from workers.stream.publisher import Publisher
from workers.stream.transactions import Transactions
from workers.stream.worker import StreamWorker
from workers.telemetry.export import Tracing
from workers.telemetry.late_sampling import LateSampling
from workers.telemetry.message_trace import StreamTracer


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


def stream_worker(
    settings: Settings,
    guard: Guard,
    loop: asyncio.AbstractEventLoop,
    tracing: Tracing,
    shadow: ShadowLane | None = None,
) -> StreamWorker:
    """A worker that judges with `guard` on `loop`, with a breaker of its own; `shadow` is shown what it decides."""
    breaker = Breaker(settings.breaker)
    judge = judge_of(settings, guard)
    measures = StreamMeasures(settings, judge.calls)
    delivery = settings.delivery

    def new_publisher(
        acknowledged: Callable[[Sequence[InFlightRecord]], None],
        held: Callable[[], None],
        membership: Membership,
    ) -> Publisher:
        judge.held = held
        measures.rebalances = membership.rebalances

        def published(items: Sequence[InFlightRecord]) -> None:
            measures.published(items)
            acknowledged(items)

        def publisher_held() -> None:
            measures.publish_waited()
            held()

        transactions: Transactions | None = None
        new_producer = partial(producer, settings.kafka)
        if delivery.mode == "exactly_once":
            new_transactional = partial(new_producer, transactional_id(settings.kafka))
            stored = partial(committed_offsets, settings.kafka)
            transactions = Transactions(new_transactional, membership.metadata, breaker.memory, stored, publisher_held)
        return Publisher(
            new_producer if transactions is None else transactions.new_producer,
            settings.topics,
            settings.kafka.group_id,
            settings.kafka.linger_ms / 1000,
            Backoff(delivery.backoff_initial_s, delivery.backoff_max_s),
            published,
            publisher_held,
            membership.is_member,
            lambda item, outcome: tracer.replaced(item.trace, item.record, outcome),
            transactions,
        )

    telemetry = settings.telemetry
    tracer = StreamTracer(
        tracing.emit,
        tracing.samples,
        enabled=tracing.enabled,
        parent_decides=tracing.parent_decides,
        as_child=telemetry.process_span == "child",
        group=settings.kafka.group_id,
        late=LateSampling(telemetry.always_sample, telemetry.slow_s),
    )
    worker = StreamWorker(
        settings,
        moderation_of(settings, Moderation if shadow is None else partial(ShadowedModeration, shadow)),
        judge,
        loop,
        partial(group_consumer, settings.kafka),
        new_publisher,
        tracer,
        breaker,
    )
    measures.observe(worker)
    return worker
