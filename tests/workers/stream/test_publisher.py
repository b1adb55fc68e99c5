"""The publisher over a scripted producer: in order (P8), for ever (P5), nothing of a lost partition, nothing unsent."""

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    NotLeaderForPartitionError,
    ProducerFencedError,
    TopicAuthorizationFailedError,
)

from schemas.dead_letter import DeadLetter
from schemas.record import Partition
from tests.site import wait_until
from tests.workers.stream.scripted_producer import WAIT_S, Broker, Script, Stage, times, too_large
from workers.kafka.producer import Producer
from workers.settings.sections import TopicSettings
from workers.stream.assignment import AssignedPartition
from workers.stream.publisher import AtLeastOnce


@pytest.fixture
def stages() -> Iterator[Callable[[Broker], Stage]]:
    made: list[Stage] = []

    def make(broker: Broker) -> Stage:
        made.append(Stage(broker))
        return made[-1]

    yield make
    for stage in made:
        stage.publisher.stop(WAIT_S)
        assert stage.publisher.failure is None


@pytest.mark.parametrize("where", ["at_send", "at_ack"])
@pytest.mark.parametrize("offset", [0, 3, 7, None])
@pytest.mark.parametrize(
    "error", [NotLeaderForPartitionError(), ProducerFencedError(), TopicAuthorizationFailedError()]
)
def test_p8_a_failed_record_is_stored_before_anything_after_it(
    stages: Callable[[Broker], Stage], where: str, offset: int | None, error: KafkaError
) -> None:
    broker = Broker()
    setattr(broker, where, times(3, error, offset))
    stage = stages(broker)
    stage.publish([stage.verdict(number) for number in range(8)])

    assert stage.wait_for(8) == list(range(8))
    assert broker.offsets == list(range(8))


def test_p5_a_topic_of_the_policy_that_is_missing_holds_all_behind_it_and_the_log_names_it(
    stages: Callable[[Broker], Stage], caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker()
    error: Any = KafkaTimeoutError()
    error.topic = "moderation.blocked"
    broker.at_send = times(2, error, 3)
    stage = stages(broker)
    stage.publish([stage.verdict(number) for number in range(5)])

    assert stage.wait_for(5) == list(range(5))
    held = [record.getMessage() for record in caplog.records if "publish_held" in record.getMessage()]
    assert len(held) == 2
    assert all("moderation.blocked" in line and "-3" in line for line in held)


@given(failures=st.dictionaries(st.integers(0, 60), st.sampled_from(["at_send", "at_ack"]), max_size=20))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_p8_p1_whatever_fails_when_each_record_is_stored_once_and_in_order(failures: dict[int, str]) -> None:
    calls = itertools.count()

    def script(where: str) -> Script:
        return lambda *_: NotLeaderForPartitionError() if failures.get(next(calls)) == where else None

    broker = Broker(script("at_send"), script("at_ack"))
    stage = Stage(broker)
    stage.publisher.publish([stage.verdict(number) for number in range(5)])
    stage.publisher.publish([stage.letter(number) for number in range(5, 8)])
    stage.publisher.start()
    try:
        assert stage.wait_for(8) == list(range(8))
        assert broker.offsets == list(range(8))
    finally:
        stage.publisher.stop(WAIT_S)


def test_p5_it_never_gives_up_and_says_that_it_is_held(stages: Callable[[Broker], Stage]) -> None:
    stage = stages(Broker(at_ack=times(300, NotLeaderForPartitionError())))
    stage.publish([stage.verdict(0)])

    assert stage.wait_for(1) == [0]
    assert stage.holds >= 300


def test_p5_a_broker_that_cannot_be_reached_at_start_is_a_hold_too(stages: Callable[[Broker], Stage]) -> None:
    broker = Broker()
    broker.at_start = lambda number: KafkaError("no brokers") if number < 20 else None
    stage = stages(broker)
    stage.publish([stage.verdict(0)])

    assert stage.wait_for(1) == [0]
    assert stage.holds == 19


def test_p5_a_flush_that_takes_long_is_a_hold_and_acknowledges_nothing(stages: Callable[[Broker], Stage]) -> None:
    broker = Broker()
    broker.flush_timeouts = 5
    stage = stages(broker)
    stage.on_hold = lambda _: None if stage.acknowledged.empty() else pytest.fail("acknowledged before the flush")
    stage.publish([stage.verdict(0)])

    assert stage.wait_for(1) == [0]
    assert stage.holds == 5


def test_p2_nothing_is_acknowledged_that_the_broker_has_not_stored(stages: Callable[[Broker], Stage]) -> None:
    stage = stages(Broker(at_ack=times(4, NotLeaderForPartitionError(), offset=2)))
    stored_at_hold: list[list[int]] = []
    stage.on_hold = lambda _: stored_at_hold.append(list(stage.broker.offsets))
    stage.publish([stage.verdict(number) for number in range(4)])
    stage.wait_for(4)

    assert stored_at_hold
    assert all(stored == [0, 1] for stored in stored_at_hold)


def test_p5_a_fenced_producer_is_closed_and_a_new_one_goes_on(stages: Callable[[Broker], Stage]) -> None:
    broker = Broker(at_ack=lambda _, number: ProducerFencedError() if number == 1 else None)
    stage = stages(broker)
    stage.publish([stage.verdict(0), stage.verdict(1)])

    assert stage.wait_for(2) == [0, 1]
    assert broker.made == 2
    assert broker.closed == [1]


@pytest.mark.parametrize("where", ["at_send", "at_ack"])
def test_p1_a_verdict_that_is_too_large_becomes_a_dead_letter_in_its_place(
    stages: Callable[[Broker], Stage], where: str
) -> None:
    broker = Broker()
    setattr(broker, where, too_large(lambda sent: sent.topic == "out" and sent.offset == 1))
    stage = stages(broker)
    items = [stage.verdict(number) for number in range(3)]
    stage.publish(items)

    assert stage.wait_for(3) == [0, 1, 2]
    assert [(sent.topic, sent.offset) for sent in broker.stored] == [("out", 0), ("dlq", 1), ("out", 2)]
    letter = broker.stored[1]
    assert (letter.headers["moderation.dlq.reason"], letter.value) == (b"verdict_too_large", b"value")
    assert letter.headers["moderation.dlq.model_revision"] == b"r"
    assert isinstance(items[1].ruling.outcome, DeadLetter)
    assert stage.replaced == [(1, items[1].ruling.outcome)]


@pytest.mark.parametrize("where", ["at_send", "at_ack"])
def test_p1_a_dead_letter_that_is_too_large_loses_its_value_and_not_its_place(
    stages: Callable[[Broker], Stage], where: str
) -> None:
    broker = Broker()
    setattr(broker, where, too_large(lambda sent: sent.value == b"value" and sent.topic == "dlq"))
    stage = stages(broker)
    stage.publish([stage.letter(0), stage.verdict(1)])

    assert stage.wait_for(2) == [0, 1]
    letter = broker.stored[0]
    assert (letter.topic, letter.key, letter.value) == ("dlq", b"key", b"")
    assert letter.headers["moderation.dlq.value_dropped"] == b"true"
    assert "h" not in letter.headers


def test_p1_a_dead_letter_whose_key_alone_is_too_large_loses_it_as_well(stages: Callable[[Broker], Stage]) -> None:
    stage = stages(Broker(at_send=too_large(lambda sent: sent.key is not None)))
    stage.publish([stage.letter(0)])

    assert stage.wait_for(1) == [0]
    assert (stage.broker.stored[0].key, stage.broker.stored[0].value) == (None, b"")


@pytest.mark.parametrize("where", ["at_send", "at_ack"])
@pytest.mark.parametrize("size", [2_000, 1_000_000])
def test_p1_a_verdict_that_its_key_makes_too_large_loses_the_key_and_not_its_severity(
    stages: Callable[[Broker], Stage], where: str, size: int
) -> None:
    broker = Broker()
    broker.partitions["out"] = {0}
    setattr(broker, where, too_large(lambda sent: len(sent.key or b"") > 1_000))
    stage = stages(broker)
    stage.publish([stage.verdict(number, key=b"k" * size if number == 3 else b"key") for number in range(6)])

    assert stage.wait_for(6) == list(range(6))
    assert [(sent.topic, sent.offset, sent.key) for sent in broker.stored] == [
        ("out", number, None if number == 3 else b"key") for number in range(6)
    ]


def test_p6_after_one_that_was_too_large_the_batch_goes_on_as_a_batch_and_the_next_ones_do_not_fail(
    stages: Callable[[Broker], Stage],
) -> None:
    broker = Broker(at_ack=too_large(lambda sent: len(sent.key or b"") > 100_000))
    broker.partitions["out"] = {0}
    stage = stages(broker)
    stage.publish([stage.verdict(number, key=b"k" * (200_000 - number * (number % 50 == 49))) for number in range(400)])

    assert stage.wait_for(400) == list(range(400))
    assert broker.offsets == list(range(400))
    assert broker.made == 2, "one failed, to learn from"


def test_p5_a_topic_that_takes_not_even_that_holds_and_does_not_spin(stages: Callable[[Broker], Stage]) -> None:
    held = threading.Event()
    stage = stages(Broker(at_send=too_large(lambda _: True)))
    stage.on_hold = lambda count: held.set() if count == 3 else None
    stage.publish([stage.letter(0)])

    assert held.wait(WAIT_S)
    assert stage.acknowledged.empty()


def test_p8_a_verdict_without_a_key_goes_to_the_partition_of_its_event_and_one_with_a_key_asks_for_none(
    stages: Callable[[Broker], Stage],
) -> None:
    broker = Broker()
    stage = stages(broker)
    keyed, keyless = stage.verdict(0), stage.verdict(1)
    keyless.record = keyless.record._replace(partition=5, key=None)
    stage.publish([keyed])
    stage.wait_for(1)
    broker.partitions["out"] = {0, 1, 2}
    stage.publisher.publish([keyless])
    stage.wait_for(1)

    assert [(sent.key, sent.partition) for sent in broker.stored] == [(b"key", None), (None, 2)]


def test_p2_nothing_of_a_lost_partition_is_published(stages: Callable[[Broker], Stage]) -> None:
    stage = stages(Broker())
    lost = AssignedPartition(Partition("in", 1))
    lost.is_lost = True
    stage.publish([stage.verdict(0), stage.verdict(100, lost), stage.verdict(1)])

    assert stage.wait_for(2) == [0, 1]
    assert stage.broker.offsets == [0, 1]


def test_p2_what_is_held_when_its_partition_is_lost_is_dropped_and_the_rest_goes_on(
    stages: Callable[[Broker], Stage],
) -> None:
    stage = stages(Broker(at_ack=times(10**9, NotLeaderForPartitionError(), offset=100)))
    lost = AssignedPartition(Partition("in", 1))

    def lose(holds: int) -> None:
        lost.is_lost = holds >= 5

    stage.on_hold = lose
    stage.publish([stage.verdict(100, lost), stage.verdict(0)])

    assert stage.wait_for(1) == [0]
    assert stage.broker.offsets == [0]


@pytest.mark.parametrize("where", ["at_send", "at_ack", "flush"])
def test_p5_a_stop_while_holding_ends_and_acknowledges_nothing(stages: Callable[[Broker], Stage], where: str) -> None:
    broker = Broker()
    if where == "flush":
        broker.flush_timeouts = 10**9
    else:
        setattr(broker, where, times(10**9, NotLeaderForPartitionError()))
    stage = stages(broker)
    held = threading.Event()
    stage.on_hold = lambda _: held.set()
    stage.publish([stage.verdict(0)])
    assert held.wait(WAIT_S)

    stage.publisher.stop(WAIT_S)

    assert not stage.publisher._thread.is_alive()  # noqa: SLF001 - the promise is that it ends
    assert stage.acknowledged.empty()
    assert broker.stored == []
    assert len(broker.closed) == broker.made


def test_p12_a_bug_in_the_publisher_is_kept_where_the_worker_sees_it() -> None:
    broker = Broker(at_send=lambda *_: (_ for _ in ()).throw(TypeError("a bug")))
    stage = Stage(broker)
    stage.publish([stage.verdict(0)])
    stage.publisher._thread.join(WAIT_S)  # noqa: SLF001 - it ends by itself

    assert isinstance(stage.publisher.failure, TypeError)
    assert stage.acknowledged.empty()


def test_p2_nothing_is_published_while_the_group_may_have_given_its_partition_away(
    stages: Callable[[Broker], Stage],
) -> None:
    stage = stages(Broker())
    stage.is_member = False
    lost = stage.verdict(0, AssignedPartition(Partition("in", 1)))
    stage.publish([lost, stage.verdict(1)])
    wait_until(lambda: stage.holds > 2, "it to hold")
    assert stage.broker.offsets == []
    lost.partition.is_lost = True  # as a rebalance tells, before the member is one again
    stage.is_member = True

    assert stage.wait_for(1) == [1]
    assert stage.broker.offsets == [1]


@pytest.mark.parametrize("where", ["at_send", "at_ack"])
def test_p1_what_is_skipped_is_no_suspect_where_another_is_too_large(
    stages: Callable[[Broker], Stage], where: str
) -> None:
    broker = Broker()
    broker.partitions["out"] = {0}
    setattr(broker, where, too_large(lambda sent: len(sent.key or b"") > 1_000))
    stage = stages(broker)
    items = [stage.verdict(number, key=b"k" * 1_000_000 if number == 1 else b"key") for number in range(4)]
    items[0].ruling = items[2].ruling = None
    stage.publish(items)

    assert sorted(stage.wait_for(4)) == [0, 1, 2, 3]
    assert [(sent.offset, sent.key) for sent in broker.stored] == [(1, None), (3, b"key")]


def test_a_batch_of_which_everything_was_lost_has_no_culprit_where_no_producer_can_be_had() -> None:
    def none_there() -> Producer:
        raise KafkaTimeoutError("Unable to bootstrap")

    delivery = AtLeastOnce(none_there, TopicSettings(), lambda: None, threading.Event())
    settled = delivery.settle([], delivery.send([]))

    assert (settled.done, settled.culprit) == ([], None)
    assert isinstance(settled.error, KafkaTimeoutError)
