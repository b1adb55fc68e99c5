"""Transactions of the publisher: all or nothing, and an outcome that is not known is found out (exactly once)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from kafka.errors import IllegalGenerationError, KafkaError, ProducerFencedError

from pipelines.backoff import Backoff
from schemas.errors import ConfigurationError
from schemas.record import Partition
from tests.site import wait_until
from tests.workers.stream.scripted_producer import TOPICS, WAIT_S, Broker, Producer, Stage, times, too_large
from workers.kafka.topic_lives import TopicLives
from workers.stream.exactly_once import LONGEST_WAIT_MS, WAIT_MS, ExactlyOnce

PLACE = Partition("in", 0)
Answers = Callable[[int], KafkaError | None]


class Result:
    """Answer of a request about a transaction; so many waits are in vain first."""

    def __init__(self, error: KafkaError | None, *, waits: int) -> None:
        self._error = error
        self._waits = waits

    def wait(self, timeout_ms: int) -> bool:
        assert timeout_ms > 0
        if self._waits:
            self._waits -= 1
            return False
        if self._error is not None:
            raise self._error
        return True


class Coordinator:
    """What the broker knows of transactions: `at_commit` fails the nth commit, `applied` says whether it was done."""

    def __init__(self, broker: Broker, at_commit: Answers = lambda _: None, *, applied: bool = False) -> None:
        self.broker = broker
        self.at_commit = at_commit
        self.applied = applied
        self.waits = 0
        self.version = (4, 3)
        self.commits = 0
        self.members: list[object] = []
        self.offsets: dict[Partition, int] = {}
        self.committed: list[int] = []
        self.asked: list[Sequence[Partition]] = []
        self.holds = 0

    def delivery(self, stage: Stage) -> ExactlyOnce:
        return ExactlyOnce(
            self._new_producer,
            TOPICS,
            self._held,
            stage.stopping,
            backoff=Backoff(0.0001, 0.001),
            member=lambda: f"member {self.commits}",
            baseline=lambda: "mix",
            lives=TopicLives([]),
            stored=self._stored,
        )

    def _held(self) -> None:
        self.holds += 1

    def _stored(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        self.asked.append(partitions)
        return self.offsets

    def _new_producer(self) -> Any:
        self.broker.made += 1
        return TransactionalProducer(self)


class TransactionalProducer(Producer):
    """A producer with the methods and parts that transactions use."""

    def __init__(self, coordinator: Coordinator) -> None:
        super().__init__(coordinator.broker, coordinator.broker.made)
        self.broker_version = coordinator.version
        self._coordinator = coordinator
        self._pending: dict[Partition, int] = {}

    def init_transactions(self) -> None:
        self._coordinator.broker.stored.clear()  # what was open is aborted

    def begin_transaction(self) -> None:
        self._pending.clear()

    def send_offsets(self, offsets: dict[Partition, int], text: str, lives: TopicLives, member: object) -> Result:
        assert (text, lives.marks) == ("mix", {})
        self._coordinator.members.append(member)
        self._pending.update(offsets)
        return Result(None, waits=self._coordinator.waits)

    def begin_commit(self) -> Result:
        known = self._coordinator
        known.commits += 1
        error = known.at_commit(known.commits)
        if error is None or known.applied:
            known.offsets |= self._pending
            known.committed += known.broker.offsets
        known.broker.stored.clear()
        return Result(error, waits=known.waits)


def only(number: int, error: KafkaError) -> Answers:
    """Fails one commit."""
    return lambda commit: error if commit == number else None


stages: list[Stage] = []


@pytest.fixture(autouse=True)
def _publishers_end() -> Iterator[None]:
    yield
    while stages:
        stages.pop().publisher.stop(WAIT_S)


def stage_of(coordinator: Coordinator) -> Stage:
    stages.append(Stage(coordinator.broker, coordinator.delivery))
    return stages[-1]


def test_a_batch_and_the_offset_behind_it_are_committed_as_the_member_of_its_begin() -> None:
    coordinator = Coordinator(Broker())
    stage = stage_of(coordinator)
    stage.publish([stage.verdict(3), stage.letter(4)])

    assert stage.wait_for(2) == [3, 4]
    assert (coordinator.committed, coordinator.offsets) == ([3, 4], {PLACE: 5})
    assert coordinator.members == ["member 0"]


@pytest.mark.parametrize("error", [ProducerFencedError(), IllegalGenerationError()])
def test_what_was_not_committed_is_sent_again_by_a_new_producer(error: KafkaError) -> None:
    coordinator = Coordinator(Broker(), only(1, error))
    stage = stage_of(coordinator)
    stage.publish([stage.verdict(3), stage.verdict(4)])

    assert stage.wait_for(2) == [3, 4]
    assert coordinator.committed == [3, 4]
    assert (coordinator.commits, coordinator.broker.made) == (2, 2)
    assert coordinator.asked == [[PLACE]]


def test_what_turns_out_to_be_committed_is_not_sent_again() -> None:
    coordinator = Coordinator(Broker(), only(1, KafkaError("the answer was lost")), applied=True)
    stage = stage_of(coordinator)
    stage.publish([stage.verdict(3), stage.verdict(4)])

    assert stage.wait_for(2) == [3, 4]
    assert (coordinator.committed, coordinator.commits) == ([3, 4], 1)


def test_nothing_of_a_transaction_counts_where_one_record_of_it_failed() -> None:
    broker = Broker(at_ack=times(1, KafkaError("no"), offset=4))
    coordinator = Coordinator(broker)
    stage = stage_of(coordinator)
    stage.publish([stage.verdict(3), stage.verdict(4), stage.verdict(5)])

    assert stage.wait_for(3) == [3, 4, 5]
    assert coordinator.committed == [3, 4, 5]


def test_a_verdict_that_is_too_large_becomes_a_dead_letter_of_the_next_transaction() -> None:
    coordinator = Coordinator(Broker(at_send=too_large(lambda sent: sent.topic == "out" and sent.offset == 4)))
    stage = stage_of(coordinator)
    stage.publish([stage.verdict(3), stage.verdict(4), stage.verdict(5)])

    assert stage.wait_for(3) == [3, 4, 5]
    assert coordinator.committed == [3, 4, 5]
    assert coordinator.commits == 1


def test_a_partition_that_is_lost_meanwhile_takes_its_transaction_with_it() -> None:
    coordinator = Coordinator(Broker())
    stage = stage_of(coordinator)
    lost, kept = stage.verdict(3), stage.verdict(4)
    lost.partition = type(stage.partition)(Partition("in", 1))
    flush = Producer.flush

    def lose(producer: Producer, timeout: float) -> None:
        lost.partition.is_lost = True
        flush(producer, timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Producer, "flush", lose)
        stage.publish([lost, kept])
        assert stage.wait_for(1) == [4]
    assert (coordinator.committed, coordinator.offsets) == ([4], {PLACE: 5})


def test_p5_a_coordinator_that_does_not_answer_is_waited_for() -> None:
    coordinator = Coordinator(Broker())
    coordinator.waits = 1
    stage = stage_of(coordinator)
    stage.publish([stage.verdict(3)])

    assert stage.wait_for(1) == [3]
    assert coordinator.holds == 2


def test_a_request_that_is_never_answered_is_given_up_once_the_coordinator_has_ended_the_transaction() -> None:
    coordinator = Coordinator(Broker())
    coordinator.waits = LONGEST_WAIT_MS // WAIT_MS
    stage = stage_of(coordinator)

    def init(_: TransactionalProducer) -> None:
        coordinator.broker.stored.clear()
        coordinator.waits = 0 if coordinator.broker.made > 1 else coordinator.waits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionalProducer, "init_transactions", init)
        stage.publish([stage.verdict(3), stage.verdict(4)])
        assert stage.wait_for(2) == [3, 4]
    assert (coordinator.committed, coordinator.broker.made) == ([3, 4], 2)


def test_brokers_that_are_too_old_to_fence_are_refused_by_name() -> None:
    coordinator = Coordinator(Broker())
    coordinator.version = (2, 4)
    stage = stage_of(coordinator)
    stage.publish([stage.verdict(3)])
    wait_until(lambda: stage.publisher.failure is not None, "the publisher to fail")

    assert isinstance(stage.publisher.failure, ConfigurationError)
    assert "delivery.mode=exactly_once" in str(stage.publisher.failure)
    assert "2.4" in str(stage.publisher.failure)
