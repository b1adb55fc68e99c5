"""`weir audit run --topic` on real Kafka: a range by offsets and by time, of no group, and nothing is committed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from schemas.verdict import Severity
from tests.conftest import Topics
from tests.kafka.cluster import KafkaCluster
from tests.ray_session import ray_session
from tests.weir_result import Result
from tests.workers.audit.scripted_lane import rows_of
from workers.audit.run_folder import RunFolder

HOUR_MS = 3_600_000
START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@pytest.fixture(scope="module", autouse=True)
def _local_ray() -> Iterator[None]:
    """Of all commands: each by itself would start one."""
    with ray_session(4):
        yield


@pytest.fixture
def topic(kafka: KafkaCluster, topics: Topics, monkeypatch: pytest.MonkeyPatch) -> str:
    """Twelve events an hour apart in each of two partitions, one of them broken, and an aborted transaction."""
    name = topics("events", partitions=2, config={"retention.ms": "-1"})  # its times are long past
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=name)
    producer.init_transactions()
    for commits, numbers in ((True, range(6)), (False, range(90, 92)), (True, range(6, 12))):
        producer.begin_transaction()
        for number in numbers:
            for partition in range(2):
                event = {"event_id": f"e{partition}-{number}", "tenant": "acme", "text": f"hello {number}"}
                value = b"{" if (number, partition) == (4, 1) else json.dumps(event).encode()
                producer.send(name, value, partition=partition, timestamp_ms=START_MS + number * HOUR_MS)
        producer.flush()
        producer.commit_transaction() if commits else producer.abort_transaction()
    producer.close()
    return name


def audit(topic: str, into: Path, *options: str) -> Result:
    return Result("audit", "run", "--topic", topic, "--into", str(into), "--model", "demo", "--json", *options)


def test_a_topic_is_judged_once_by_offsets_and_by_time_and_nothing_is_committed(
    kafka: KafkaCluster, topic: str, tmp_path: Path
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    groups = admin.list_groups()
    whole = audit(topic, tmp_path / "whole", "--block-rows", "5")
    timed = audit(
        topic, tmp_path / "timed", "--from", "2026-01-01T02:00:00Z", "--to", "2026-01-01T04:00:00Z", "--map", "text=a"
    )
    part = audit(topic, tmp_path / "part", "--from", "0:2,1:3", "--to", "5")
    verdicts, letters = rows_of(tmp_path / "whole")

    assert whole.code == 0, whole.err
    assert {row["event_id"] for row in verdicts} == {f"e{p}-{n}" for p in range(2) for n in range(12)} - {"e1-4"}
    assert [(row["reason"], row["source_partition"], row["source_offset"]) for row in letters] == [
        ("invalid_json", 1, 4)
    ]
    assert whole.json["inputs"][0]["start"] == 0
    assert whole.json["counts"]["rows"] == 24
    assert {row["severity"] for row in verdicts} <= {severity.value for severity in Severity}
    assert all(row["occurred_at"].hour == row["source_offset"] for row in verdicts if row["source_offset"] < 6)
    assert "have none" in timed.err
    assert part.json["counts"]["rows"] == 5
    assert admin.list_groups() == groups
    admin.close()


def test_a_range_by_time_is_what_happened_in_it(topic: str, tmp_path: Path) -> None:
    made = audit(topic, tmp_path / "run", "--from", "2026-01-01T02:00:00Z", "--to", "2026-01-01T04:00:00Z")
    verdicts, _ = rows_of(tmp_path / "run")

    assert made.code == 0, made.err
    assert sorted(row["event_id"] for row in verdicts) == ["e0-2", "e0-3", "e1-2", "e1-3"]
    assert "ends at" in audit(topic, tmp_path / "late", "--to", "900").err
    assert "nothing to judge" in audit(topic, tmp_path / "none", "--from", "2027-01-01").err


def test_a_run_that_is_taken_up_again_keeps_the_end_that_it_was_begun_with(
    kafka: KafkaCluster, topic: str, tmp_path: Path
) -> None:
    made = audit(topic, tmp_path / "run", "--block-rows", "5")
    before = rows_of(tmp_path / "run")
    folder = RunFolder(str(tmp_path / "run"))
    folder.write_manifest(folder.manifest().model_copy(update={"state": "running"}))
    (tmp_path / "run" / "blocks" / "block-000001.json").unlink()
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    producer.send(topic, b'{"event_id": "new", "text": "late"}', partition=0).get(10)
    producer.close()
    again = audit(topic, tmp_path / "run", "--block-rows", "5")

    assert again.code == 0, again.err
    assert again.json["inputs"] == made.json["inputs"]
    assert rows_of(tmp_path / "run") == before
    assert "inputs[0].start is another" in _taken_up_with_a_bound(topic, folder, tmp_path)


def _taken_up_with_a_bound(topic: str, folder: RunFolder, tmp_path: Path) -> str:
    folder.write_manifest(folder.manifest().model_copy(update={"state": "running"}))
    return audit(topic, tmp_path / "run", "--block-rows", "5", "--from", "1").err
