"""What we do to kafka-python: a partitioner that remembers, partitions that do not stand still, nulls that are sent."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.net.compat import KafkaNetClient
from kafka.net.transport import KafkaTCPTransport
from kafka.partitioner.default import DefaultPartitioner

from schemas.cut_value import CutValue
from schemas.errors import ConfigurationError
from tests.site import Site, wait_until
from workers.kafka.connection import connection
from workers.kafka.errors import fault_of
from workers.kafka.patches import RememberingPartitioner, unpark
from workers.kafka.producer import ExactProducer, Producer, producer
from workers.kafka.unbounded_waits import ProducerClient, TidySelector
from workers.settings.sections import KafkaSettings


@given(key=st.binary(max_size=200), partitions=st.integers(1, 50))
def test_a_key_goes_where_the_library_would_send_it(key: bytes, partitions: int) -> None:
    numbers = set(range(partitions))
    cluster = SimpleNamespace(
        topics=lambda: {"out"},
        partitions_for_topic=lambda _: numbers,
        available_partitions_for_topic=lambda _: numbers,
    )

    for _ in range(2):  # hashed, then remembered
        ours = RememberingPartitioner().partition("out", key, key, None, None, cluster)
        assert ours == DefaultPartitioner().partition("out", key, key, None, None, cluster)


def test_without_a_key_any_available_partition_will_do() -> None:
    cluster = SimpleNamespace(
        topics=lambda: {"out"},
        partitions_for_topic=lambda _: {0, 1, 2},
        available_partitions_for_topic=lambda _: {1},
    )

    assert RememberingPartitioner().partition("out", None, None, None, None, cluster) == 1


def test_the_password_may_come_from_a_file_which_is_read_for_each_client(tmp_path: Path) -> None:
    file = tmp_path / "password"
    sasl = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "alice"}
    settings = KafkaSettings(**sasl, sasl_password_file=file)
    for password in ("first", "renewed "):
        file.write_text(f"{password}\n", encoding="utf-8")
        assert connection(settings)["sasl_plain_password"] == password

    file.unlink()
    with pytest.raises(ConfigurationError, match=r"kafka\.sasl_password_file cannot be read: No such file"):
        connection(settings)


def test_a_coordinator_that_cannot_be_reached_is_no_error_to_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise KafkaConnectionError

    client = object.__new__(ProducerClient)
    monkeypatch.setattr(KafkaNetClient, "await_ready", refuse)
    assert client.await_ready("coordinator-1", 10) is False
    monkeypatch.setattr(KafkaNetClient, "await_ready", lambda *_: True)
    assert client.await_ready("coordinator-1", 10) is True


def test_what_was_still_writing_at_the_end_leaves_no_socket_open() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    net = TidySelector()
    transport = KafkaTCPTransport(net, ours)
    transport.write(bytes(10_000_000))  # more than the other side takes, which never reads
    net.drain()
    transport.close()
    assert ours.fileno() != -1

    net.close()
    assert ours.fileno() == -1
    theirs.close()


def test_a_topic_that_is_waited_for_in_vain_is_named(site: Site) -> None:
    sender = Producer(site.settings.kafka, max_block_ms=300)
    for ask in (lambda: sender.partitions_for("no.such.topic"), lambda: sender.send("no.such.topic", b"x", b"key")):
        with pytest.raises(KafkaTimeoutError) as raised:
            ask()
        assert fault_of(raised.value) == {"error": "KafkaTimeoutError", "topic": "no.such.topic"}
    assert sender.partitions_for(site.names[0]) == {0, 1, 2, 3}, "and all others are served"
    sender.close()


def test_p1_a_partition_that_was_paused_within_a_batch_goes_on_where_it_stood(site: Site) -> None:
    topic = site.names[0]
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    sender = producer(site.settings.kafka)
    consumer = KafkaConsumer(**connection(site.settings.kafka), auto_offset_reset="earliest")
    consumer.assign([first, second])
    seen: list[tuple[int, int]] = []

    def send(partition: int, count: int) -> None:
        for future in [sender.send(topic, b"x", partition=partition) for _ in range(count)]:
            future.get(30)

    def has_seen(count: int) -> bool:
        unpark(consumer)
        polled = consumer.poll(50, max_records=count - len(seen))
        seen.extend((record.partition, record.offset) for records in polled.values() for record in records)
        return len(seen) == count

    send(0, 10)
    wait_until(lambda: has_seen(4), "the first part of a batch")
    consumer.pause(first)
    send(1, 3)
    wait_until(lambda: has_seen(7), "another partition to be read to its end")
    consumer.resume(first)
    wait_until(lambda: has_seen(11), "the paused partition to go on")
    wait_until(lambda: has_seen(13), "the rest of it")
    assert [offset for partition, offset in seen if partition == 0] == list(range(10))
    consumer.close()
    sender.close()


def test_nulls_are_nulls_and_what_looks_like_one_is_not(site: Site) -> None:
    sender = ExactProducer(site.settings.kafka)
    headers = (("a", None), ("b", b""), ("c", b"null"))
    for value in (None, b"", b"null"):
        sender.send_exactly(site.names[0], value, None, headers, 0).get(30)
    sender.close()

    assert [(record.value, record.headers) for record in site.records(0)] == [
        (value, headers) for value in (None, b"", b"null")
    ]


def test_p1_what_was_cut_when_it_was_read_is_not_sent_as_if_it_were_empty(site: Site) -> None:
    sender = ExactProducer(site.settings.kafka)

    with pytest.raises(MessageSizeTooLargeError, match="record: 9 bytes"):
        sender.send_exactly(site.names[0], CutValue("record: 9 bytes"), b"key", [], None)
    sender.close()
