"""A producer and broker whose failures a test writes down, and a publisher on top of them."""

import itertools
import json
import queue
import random
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.future import Future

from pipelines.backoff import Backoff
from pipelines.moderation import Ruling
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.record import Partition, SourceRecord
from tests.samples.verdict import VERDICT, text_of
from workers.settings.sections import TopicSettings
from workers.stream.assignment import AssignedPartition, InFlightRecord
from workers.stream.dead_letters import TooLarge
from workers.stream.publisher import AtLeastOnce, Publisher
from workers.telemetry.message_trace import MessageTrace

WAIT_S = 20.0
TOPICS = TopicSettings(events=("in",), verdicts="out", dead_letters="dlq")


class Sent:
    """One record as the producer was given it."""

    def __init__(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: list[tuple[str, bytes]],
        partition: int | None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.value = value
        self.key = key
        self.headers = dict(headers)

    @property
    def offset(self) -> int:
        """Offset of the input record, wherever the outcome has it."""
        if self.topic == "dlq":
            return int(self.headers["__dlq.errors.offset"])
        offset: int = json.loads(self.value or b"")["source"]["offset"]
        return offset


Script = Callable[[Sent, int], KafkaError | None]


class Broker:
    """A broker and the producers made for it: `at_send` and `at_ack` say what fails, by record and running number.

    As kafka-python's idempotent producer does, one that failed a record fails all that are queued behind it.
    """

    def __init__(self, at_send: Script = lambda *_: None, at_ack: Script = lambda *_: None) -> None:
        self.at_send = at_send
        self.at_ack = at_ack
        self.at_start: Callable[[int], KafkaError | None] = lambda _: None
        self.partitions = {"dlq": {0, 1}}
        self.flush_timeouts = 0
        self.made = 0
        self.asked = 0
        self.stored: list[Sent] = []
        self.closed: list[int] = []
        self.flushing = threading.Event()

    def new_producer(self) -> "Producer":
        self.asked += 1
        if (error := self.at_start(self.asked)) is not None:
            raise error
        self.made += 1
        return Producer(self, self.made)

    @property
    def offsets(self) -> list[int]:
        return [sent.offset for sent in self.stored]


class Producer:
    """Stands in for `KafkaProducer`."""

    def __init__(self, broker: Broker, number: int) -> None:
        self._broker = broker
        self._number = number
        self._queued: list[tuple[Sent, Future]] = []
        self._broken: KafkaError | None = None

    def partitions_for(self, topic: str) -> set[int]:
        assert topic in self._broker.partitions, "a key chooses the partition"
        return self._broker.partitions[topic]

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Any,
        partition: int | None,
    ) -> Future:
        sent, future = Sent(topic, value, key, headers, partition), Future()
        error = self._broken or self._broker.at_send(sent, self._number)
        if error is not None:
            raise error
        self._queued.append((sent, future))
        return future

    def flush(self, timeout: float) -> None:
        assert timeout > 0
        if self._broker.flush_timeouts:
            self._broker.flush_timeouts -= 1
            self._broker.flushing.set()
            raise KafkaTimeoutError
        while self._queued:
            sent, future = self._queued.pop(0)
            self._broken = self._broken or self._broker.at_ack(sent, self._number)
            if self._broken is not None:
                future.failure(self._broken)
            else:
                self._broker.stored.append(sent)
                future.success(None)

    def close_at_once(self, timeout_s: float) -> None:
        assert timeout_s >= 0
        self._fail_all(KafkaError("closed"))
        self._broker.closed.append(self._number)

    def _fail_all(self, error: KafkaError) -> None:
        self._broken = error
        while self._queued:
            self._queued.pop(0)[1].failure(error)


class Stage:
    """A running publisher on a broker."""

    def __init__(self, broker: Broker, delivery: Callable[["Stage"], AtLeastOnce] | None = None) -> None:
        self.broker = broker
        self.stopping = threading.Event()
        self.acknowledged: queue.Queue[Sequence[InFlightRecord]] = queue.Queue()
        self.holds = 0
        self.is_member = True
        self.replaced: list[tuple[int, DeadLetter]] = []
        self.on_hold: Callable[[int], None] = lambda _: None
        self.partition = AssignedPartition(Partition("in", 0))
        tracer: Any = SimpleNamespace(decided=lambda _, record, to, __: self.replaced.append((record.offset, to)))
        made: Any = broker.new_producer
        self.publisher = Publisher(
            delivery(self) if delivery else AtLeastOnce(made, TOPICS, self.held, self.stopping),
            0.0,
            Backoff(0.0001, 0.001, random.Random(1)),
            self.acknowledged.put,
            self.held,
            lambda: self.is_member,
            TooLarge("weir", tracer),
            self.stopping,
        )

    def held(self) -> None:
        self.holds += 1
        self.on_hold(self.holds)

    def verdict(self, offset: int, partition: AssignedPartition | None = None, key: bytes = b"key") -> InFlightRecord:
        record = SourceRecord("in", 0, offset, 1, key, b"value", (("h", b"1"),))
        item = InFlightRecord(partition or self.partition, record, MessageTrace((), None))
        source = VERDICT.source.model_copy(update={"offset": offset})
        item.ruling = Ruling(text_of(VERDICT.model_copy(update={"source": source})))
        return item

    def letter(self, offset: int) -> InFlightRecord:
        item = self.verdict(offset)
        item.ruling = Ruling(dead_letter(item.record, EventError(Reason.INVALID_JSON, "no"), group="weir"))
        return item

    def publish(self, items: Sequence[InFlightRecord]) -> None:
        """Hand over and start; the thread takes everything in one batch."""
        self.publisher.publish(items)
        self.publisher.start()

    def wait_for(self, count: int) -> list[int]:
        """Offsets of the next `count` acknowledged records, in the order in which they were reported."""
        offsets: list[int] = []
        while len(offsets) < count:
            offsets += [item.offset for item in self.acknowledged.get(timeout=WAIT_S)]
        return offsets


def times(count: int, error: KafkaError, offset: int | None = None) -> Script:
    """Fails `count` times, for one offset or any."""
    left = itertools.count(count, -1)
    return lambda sent, _: error if (offset is None or sent.offset == offset) and next(left) > 0 else None


def too_large(condition: Callable[[Sent], bool]) -> Script:
    """Fails every record that a condition calls too large, for ever."""
    return lambda sent, _: MessageSizeTooLargeError() if condition(sent) else None
