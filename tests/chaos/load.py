"""The input of a scenario: chat events with bad ones among them, and for each what must become of it.

Produced past all proxies by librdkafka, so that neither the network's faults nor the client under test touch it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from confluent_kafka import Message, Producer

from schemas.reasons import NOTHING_TO_JUDGE, Reason
from tests.chaos.ruled_guard import GARBLE, HURT, KILL, RAISE, WAIT

KEYS = 48
FLUSH_S = 60.0
Place = tuple[int, int]
Headers = list[tuple[str, bytes | None]]


class Event(NamedTuple):
    """One record to produce, and its expected end: None for a verdict, else why there is none."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    expected: Reason | None

    @property
    def is_skipped(self) -> bool:
        """Whether it holds nothing to judge, and shall have no outcome."""
        return self.expected in NOTHING_TO_JUDGE

    @property
    def is_refused(self) -> bool:
        """Whether it shall become a dead letter."""
        return self.expected is not None and not self.is_skipped


@dataclass(frozen=True)
class Mix:
    """What a load is made of; shares of one, and milliseconds.

    Attributes:
        bad: tombstones, broken JSON and bytes that are no text.
        garbled: texts whose answer is off the grammar.
        raising: texts that make the guard call raise that they are in.
        killing: texts that kill the replica that judges them.
        slow_ms: longest wait that a text asks the guard for.
        words: of a text, at most.
        keyless: records without a key.
    """

    bad: float = 0.06
    garbled: float = 0.02
    raising: float = 0.0
    killing: float = 0.0
    slow_ms: int = 20
    words: int = 12
    keyless: float = 0.0


PLAIN = Mix(bad=0.0, garbled=0.0)


def draw_events(random: Random, count: int, mix: Mix, first: int = 0) -> list[Event]:
    """`count` events, numbered from `first`; a pure function of the state of `random`."""
    return [_draw(random, number, mix) for number in range(first, first + count)]


def _draw(random: Random, number: int, mix: Mix) -> Event:
    key = None if random.random() < mix.keyless else b"k%d" % random.randrange(KEYS)
    event_id = f"e{number:06d}"
    headers: Headers = [("content-type", b"application/json")]
    if random.random() < 0.05:
        headers += [("twice", b"1"), ("twice", b"2"), ("null", None), ("empty", b"")]
    if random.random() < mix.bad:
        value, reason = random.choice(
            [(None, Reason.TOMBSTONE), (b'{"event_id": "', Reason.INVALID_JSON), (b"\xff\xfe", Reason.NOT_UTF8)]
        )
        return Event(key, value, headers, reason)
    words = ["hello"] * random.randint(1, mix.words)
    expected = None
    if random.random() < mix.garbled:
        words.append(GARBLE)
        expected = Reason.UNPARSABLE_OUTPUT
    elif random.random() < mix.raising:
        words.append(RAISE)
        expected = Reason.INFERENCE_FAILED
    elif mix.killing and random.random() < mix.killing:
        words.append(KILL)
        expected = Reason.REPLICA_CRASH
    elif random.random() < 0.1:
        words.append(HURT)
    if mix.slow_ms:
        words.append(f"{WAIT}{random.randint(0, mix.slow_ms)}")
    value = json.dumps({"event_id": event_id, "conversation_id": "c", "text": " ".join(words)}).encode()
    return Event(key, value, headers, expected)


class Load:
    """Writes events into a topic and remembers what is there.

    Args:
        bootstrap: servers, past all proxies.
        topic: the input topic.
        settings: further settings of librdkafka's producer.
    """

    def __init__(self, bootstrap: str, topic: str, **settings: str) -> None:
        base = {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 2,
            "request.timeout.ms": 5_000,
            "socket.timeout.ms": 5_000,
            "message.max.bytes": 20_000_000,
            "log_level": 0,
        }
        self.topic = topic
        self.sent: dict[Place, Event] = {}
        self._producer = Producer({**base, **settings})
        self._unsure: list[str] = []

    @property
    def ends(self) -> dict[int, int]:
        """Offset behind the last record of each partition: where the group has to get to.

        Not the log's end: transaction markers may follow the last record.
        """
        ends: dict[int, int] = {}
        for partition, offset in list(self.sent):
            ends[partition] = max(ends.get(partition, 0), offset + 1)
        return ends

    @property
    def producer(self) -> Producer:
        """For transactions."""
        return self._producer

    def produce(self, events: Sequence[Event], partition: int | None = None) -> None:
        """Write events and wait until they are stored."""
        self.send(events, partition)
        self.flush()

    def send(self, events: Sequence[Event], partition: int | None = None) -> None:
        """Hand events to the producer; `flush` waits for them."""
        for event in events:

            def stored(error: object, message: Message, event: Event = event) -> None:
                if error is not None:
                    self._unsure.append(str(error))
                    return
                self.sent[message.partition(), message.offset()] = event

            place = {} if partition is None else {"partition": partition}
            self._producer.produce(
                self.topic, event.value, event.key, headers=event.headers, on_delivery=stored, **place
            )
            self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all is stored. Fails where the cluster did not take it: then nobody knows what is in there."""
        left = self._producer.flush(FLUSH_S)
        assert (left, self._unsure) == (0, []), f"the load itself was not stored: {left} left, {self._unsure[:3]}"
