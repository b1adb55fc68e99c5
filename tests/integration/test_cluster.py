"""The test broker itself: every listener carries records, and three brokers survive the death of one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError
from kafka.net.sasl.oauth import AbstractTokenProvider

from tests.kafka.cluster import KafkaCluster
from tests.kafka.security import unsigned_token
from workers.kafka.unbounded_waits import TidyConsumer

Topics = Callable[..., str]

_START_AND_DIE = """
import os, pathlib, sys
from tests.kafka.cluster import KafkaCluster
cluster = KafkaCluster(directory=pathlib.Path(sys.argv[1]))
cluster.start()
print(cluster.pids[0], flush=True)
os._exit(9)
"""


class _Token(AbstractTokenProvider):
    def token(self) -> str:
        return unsigned_token("alice")


def _send(client: dict[str, Any], topic: str, values: list[bytes]) -> None:
    producer = KafkaProducer(acks="all", max_block_ms=20_000, **client)
    for sent in [producer.send(topic, value=value, partition=0) for value in values]:
        sent.get(timeout=20)
    producer.close(timeout=5)


def _read(client: dict[str, Any], topic: str, count: int) -> list[bytes]:
    """The first records of partition 0, at least `count` of them."""
    consumer = KafkaConsumer(auto_offset_reset="earliest", **client)
    consumer.assign([TopicPartition(topic, 0)])
    read: list[bytes] = []
    while len(read) < count:
        batch = consumer.poll(timeout_ms=10_000)
        assert batch, f"nothing for 10 s after {len(read)} records"
        read += [record.value for records in batch.values() for record in records]
    consumer.close()
    return read


def test_plaintext_carries_records(kafka: KafkaCluster, topics: Topics) -> None:
    """What is sent is read, in order."""
    values = [b"%d" % number for number in range(100)]
    topic = topics()
    _send(kafka.client(), topic, values)
    assert _read(kafka.client(), topic, 100) == values


@pytest.mark.parametrize(
    ("listener", "mechanism"),
    [
        ("SSL", None),
        ("SASL_SSL", "PLAIN"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
        ("SASL_SSL", "SCRAM-SHA-512"),
        ("SASL_PLAINTEXT", "OAUTHBEARER"),
    ],
)
def test_secured_listener_carries_records(
    secured_kafka: KafkaCluster, topics: Topics, listener: str, mechanism: str | None
) -> None:
    """TLS and every SASL mechanism work with the settings that client() gives."""
    client = secured_kafka.client(listener, mechanism)
    if mechanism == "OAUTHBEARER":
        client["sasl_oauth_token_provider"] = _Token()
    topic = topics(cluster=secured_kafka)
    _send(client, topic, [b"one", b"two"])
    assert _read(client, topic, 2) == [b"one", b"two"]


def test_wrong_password_is_refused(secured_kafka: KafkaCluster) -> None:
    """A listener with SASL is not open to everybody."""
    client = secured_kafka.client("SASL_PLAINTEXT", "SCRAM-SHA-512") | {"sasl_plain_password": "wrong"}
    with pytest.raises(KafkaError):
        TidyConsumer(bootstrap_timeout_ms=3_000, **client)


@pytest.mark.slow
def test_three_brokers_survive_the_death_of_one(topics: Topics) -> None:
    """With acks=all and two replicas in sync, no record is lost and none is refused."""
    with KafkaCluster(brokers=3) as cluster:
        topic = topics(replication=3, config={"min.insync.replicas": "2"}, cluster=cluster)
        _send(cluster.client(), topic, [b"before"])
        cluster.kill(0)
        assert cluster.pids.count(None) == 1
        _send(cluster.client(), topic, [b"during"])
        cluster.restart(0)
        assert cluster.pids.count(None) == 0
        _send(cluster.client(), topic, [b"after"])
        assert _read(cluster.client(), topic, 3) == [b"before", b"during", b"after"]


def test_authorizer_refuses_what_no_acl_allows(topics: Topics) -> None:
    """A user without an ACL is denied, a super user is not."""
    with KafkaCluster(security=True, authorizer=True) as cluster:
        topic = topics(cluster=cluster)
        _send(cluster.client("SASL_PLAINTEXT", "SCRAM-SHA-512", user="admin"), topic, [b"allowed"])
        with pytest.raises(TopicAuthorizationFailedError):
            _send(cluster.client("SASL_PLAINTEXT", "SCRAM-SHA-512", user="alice"), topic, [b"denied"])


@pytest.mark.slow
def test_broker_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Even when that process gets no chance to clean up."""
    command = [sys.executable, "-c", _START_AND_DIE, str(tmp_path / "kafka")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 9, run.stderr
    deadline = time.monotonic() + 10
    while _is_running(int(run.stdout)):
        assert time.monotonic() < deadline, "the broker outlived its parent"


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")
