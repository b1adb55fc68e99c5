"""A consumer whose brokers answer nothing: it neither turns without a pause nor grows, however long that lasts (P9)."""

import threading
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from math import inf

import pytest
from kafka import KafkaConsumer
from kafka.errors import KafkaTimeoutError
from kafka.future import Future
from kafka.net.connection import KafkaConnection

from tests.allocations import held_by
from tests.site import Site, event, wait_until
from workers.kafka.connection import group_consumer
from workers.kafka.patches import forget_wakes, unpark

KAFKA_CODE = ("*/kafka/*", "*/threading.py")
POLLS = 300


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While this is not set, what servers answer is lost on the way."""
    let_through = threading.Event()
    let_through.set()
    received = KafkaConnection.data_received
    monkeypatch.setattr(
        KafkaConnection, "data_received", lambda self, data: received(self, data) if let_through.is_set() else None
    )
    return let_through


@pytest.fixture
def consumer(site: Site) -> Iterator[KafkaConsumer]:
    """A member of the group that has partitions and has read from them."""
    made = group_consumer(site.settings.kafka)
    made.subscribe([site.names[0]])
    made.partitions_for_topic(site.names[0])  # a leader without metadata assigns nothing
    site.produce([event("first")])
    wait_until(lambda: bool(made.poll(200)), "a first record")
    yield made
    made.close()


def test_p9_polls_without_any_answer_wait_and_leave_nothing_behind(
    consumer: KafkaConsumer, answers: threading.Event, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 0
    poll_once = KafkaConsumer._poll_once  # noqa: SLF001

    def counted(self: KafkaConsumer, *args: object, **more: object) -> object:
        nonlocal rounds
        rounds += 1
        return poll_once(self, *args, **more)

    def poll(count: int) -> None:
        for _ in range(count):
            unpark(consumer)
            forget_wakes(consumer)
            consumer.poll(2)

    answers.clear()
    wait_until(lambda: consumer.poll(20) == {} and consumer._coordinator.time_to_next_heartbeat() == 0, "silence")  # noqa: SLF001
    monkeypatch.setattr(KafkaConsumer, "_poll_once", counted)
    tracemalloc.start()
    try:
        held = []
        for _ in range(4):
            poll(POLLS)
            held.append(held_by(*KAFKA_CODE))
    finally:
        tracemalloc.stop()
    # Some 50 kB come and go either way; what polls leave behind grows in every window.
    grown = min(after - before for before, after in pairwise(held))
    assert rounds < 4 * POLLS * 4, "a poll turns without a pause"
    assert grown < POLLS * 100, "each poll leaves something behind"

    answers.set()
    consumer._cluster.request_update()  # noqa: SLF001 - as it does by itself every ten seconds
    site.produce([event("second")])
    wait_until(lambda: bool(consumer.poll(200)), "a record after the outage")


def test_a_wait_that_was_in_vain_leaves_nothing_with_what_it_waited_for(consumer: KafkaConsumer) -> None:
    never = Future()
    manager = consumer._client._manager  # noqa: SLF001
    for _ in range(3):
        with pytest.raises(KafkaTimeoutError):
            consumer._net.run(manager.wait_for, never, 1)  # noqa: SLF001
    assert never._callbacks == never._errbacks == []  # noqa: SLF001

    never.success("here")
    assert consumer._net.run(manager.wait_for, never, 1) == "here"  # noqa: SLF001
    assert consumer._coordinator.time_to_next_poll() == inf  # noqa: SLF001
