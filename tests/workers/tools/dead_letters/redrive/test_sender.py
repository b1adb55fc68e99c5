"""Records written exactly, and what the sender makes of a producer that fails."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidRecordError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    TopicAuthorizationFailedError,
)
from kafka.future import Future

from schemas.errors import ModerationError
from workers.tools.dead_letters.redrive.sender import Outgoing, RedriveSender

Script = Callable[[bytes], KafkaError | None]


class Cluster:
    """Producers that fail what a test writes down; one that failed a record fails all behind it, as kafka-python's."""

    def __init__(
        self, at_send: Script = lambda _: None, at_ack: Script = lambda _: None, lost_flushes: int = 0
    ) -> None:
        self.at_send = at_send
        self.at_ack = at_ack
        self.lost_flushes = lost_flushes
        self.stored: list[tuple[bytes | None, Any]] = []
        self.closed = 0
        self.made = 0

    def new_producer(self) -> Any:
        self.made += 1
        queued: list[tuple[bytes | None, Any, Future]] = []
        broken: list[KafkaError] = []

        def send(topic: str, value: Any, key: bytes, headers: Any, partition: int | None) -> Future:  # noqa: ARG001
            future = Future()
            if (error := self.at_send(value)) is not None:
                raise error
            queued.append((value, headers, future))
            return future

        def flush(timeout: float) -> None:
            if self.lost_flushes:
                self.lost_flushes -= 1
                raise KafkaTimeoutError(f"{timeout}")
            for value, headers, future in queued:
                if not broken and (error := self.at_ack(value or b"")) is not None:
                    broken.append(error)
                if broken:
                    future.failure(broken[0])
                else:
                    self.stored.append((value, headers))
                    future.success(None)
            queued.clear()

        def close(timeout_s: float) -> None:  # noqa: ARG001
            self.closed += 1

        return SimpleNamespace(send_exactly=send, flush=flush, close_at_once=close)


def records(*values: bytes | None) -> list[Outgoing]:
    return [Outgoing("t", 0, b"k", value, (("a", None), ("b", b""))) for value in values]


def fail(value: bytes, error: KafkaError) -> Script:
    return lambda sent: error if sent == value else None


@pytest.mark.parametrize("error", [MessageSizeTooLargeError(), InvalidRecordError()])
@pytest.mark.parametrize("where", ["at_send", "at_ack"])
def test_a_record_that_can_never_be_written_is_told_apart_and_its_neighbours_go_once(
    where: str, error: KafkaError
) -> None:
    cluster = Cluster(**{where: fail(b"2", error)})
    sent = records(b"1", b"2", b"3", b"4")
    sender = RedriveSender(cluster.new_producer)
    sender.send(sent)
    assert [value for value, _ in cluster.stored] == [b"1", b"3", b"4"]
    assert [record.refusal is not None for record in sent] == [False, True, False, False]
    sender.close()
    assert cluster.closed == cluster.made


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TopicAuthorizationFailedError(), "topic t: WRITE is not allowed"),
        (KafkaError(f"no id: {ClusterAuthorizationFailedError.__name__}"), "topic t: WRITE is not allowed"),
        (NotEnoughReplicasError(), "topic t: .*NotEnoughReplicasError"),
    ],
)
def test_what_the_cluster_refuses_is_said_and_what_it_took_before_is_marked(error: KafkaError, words: str) -> None:
    cluster = Cluster(at_ack=fail(b"3", error))
    sent = records(b"1", b"2", b"3", b"4")
    with pytest.raises(ModerationError, match=words):
        RedriveSender(cluster.new_producer).send(sent)
    assert [record.is_done for record in sent] == [True, True, False, False]
    assert [value for value, _ in cluster.stored] == [b"1", b"2"]


def test_a_broker_is_waited_for_but_not_for_ever() -> None:
    def sender(cluster: Cluster) -> RedriveSender:
        ticks = itertools.count()
        return RedriveSender(cluster.new_producer, 10.0, lambda: float(next(ticks)))

    slow, gone = Cluster(lost_flushes=8), Cluster(lost_flushes=1000)
    sender(slow).send(records(b"1"))
    assert len(slow.stored) == 1
    with pytest.raises(ModerationError, match="no acknowledgement for 10 s"):
        sender(gone).send(records(b"1"))


def test_an_interruption_leaves_no_record_marked_that_is_not_acknowledged() -> None:
    cluster = Cluster()
    sent = records(b"1", b"2")
    sender = RedriveSender(cluster.new_producer)

    def interrupt(value: bytes) -> KafkaError | None:
        if value == b"2":
            raise KeyboardInterrupt
        return None

    cluster.at_ack = interrupt
    with pytest.raises(KeyboardInterrupt):
        sender.send(sent)
    assert [record.is_done for record in sent] == [True, False]
