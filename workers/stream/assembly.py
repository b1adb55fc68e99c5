"""Puts a stream worker together from the settings and a guard.

Does not start it.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from pipelines.backoff import Backoff
from pipelines.breaker import Breaker
from pipelines.guard import Guard
from pipelines.judging import Judge
from pipelines.length import LengthPolicy
from pipelines.moderation import Moderation
from pipelines.policy import load_policy
from schemas.errors import ConfigurationError
from workers.settings import Settings
from workers.stream.in_flight_record import InFlightRecord
from workers.stream.kafka_clients import group_consumer, producer, transactional_id
from workers.stream.late_sampling import LateSampling
from workers.stream.measures import StreamMeasures
from workers.stream.membership import Membership
from workers.stream.message_trace import StreamTracer
from workers.stream.publisher import Publisher
from workers.stream.query_clients import committed_offsets
from workers.stream.transactions import Transactions
from workers.stream.worker import StreamWorker
from workers.telemetry import Tracing


def moderation_of(settings: Settings) -> Moderation:
    """Judgement before and after the model, as set.

    Raises:
        ConfigurationError: the policy file is wrong, or routes verdicts into one of our own topics.
    """
    length = settings.length
    policy = load_policy(settings.policy.file)
    # A verdict in an input topic would be read as an event again.
    if loops := {*policy.topics} & {*settings.topics.events, settings.topics.verdicts, settings.topics.dead_letters}:
        raise ConfigurationError(f"policy.file={settings.policy.file}: routes to {min(loops)}, which has another role")
    return Moderation(
        policy,
        LengthPolicy(length.mode, length.max_tokens, length.overlap_tokens, length.max_windows),
        max_event_bytes=settings.limits.max_event_bytes,
        group=settings.kafka.group_id,
    )


def judge_of(settings: Settings, guard: Guard) -> Judge:
    """Retry and isolation around a guard, as set."""
    delivery = settings.delivery
    return Judge(
        guard,
        max_attempts=delivery.max_attempts,
        max_crashes=delivery.max_crashes,
        new_backoff=partial(Backoff, delivery.backoff_initial_s, delivery.backoff_max_s),
    )


def stream_worker(settings: Settings, guard: Guard, loop: asyncio.AbstractEventLoop, tracing: Tracing) -> StreamWorker:
    """A worker that judges with `guard` on `loop`, with a breaker of its own."""
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
        moderation_of(settings),
        judge,
        loop,
        partial(group_consumer, settings.kafka),
        new_publisher,
        tracer,
        breaker,
    )
    measures.observe(worker)
    return worker
