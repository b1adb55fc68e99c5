"""`weir audit run --topic` on real Kafka: a range by offsets and by time, of no group, and nothing is committed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from schemas.verdict import Severity
from tests.kafka.cluster import KafkaCluster
from tests.weir_result import Result
from tests.workers.audit.scripted_lane import rows_of
from workers.audit.run_folder import RunFolder

HOUR_MS = 3_600_000
START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
pytestmark = [pytest.mark.integration, pytest.mark.ray]


@pytest.fixture(scope="module")
def topic(kafka: KafkaCluster) -> str:
    """Twelve events an hour apart in each of two partitions, one of them broken, and an aborted transaction."""
    name = f"audited-{uuid4().hex[:8]}"
    with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap)) as admin:
        admin.create_topics([NewTopic(name, 2, 1, topic_configs={"retention.ms": "-1"})])  # its times are long past
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


@pytest.fixture(autouse=True)
def _broker(kafka: KafkaCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)


class Whole(NamedTuple):
    """A run over all of the topic, and the broker's groups before and after it."""

    run: Path
    result: Result
    groups: tuple[Any, Any]


@pytest.fixture(scope="module")
def whole(
    kafka: KafkaCluster, topic: str, _local_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Whole]:
    run = tmp_path_factory.mktemp("audit") / "whole"
    with pytest.MonkeyPatch.context() as patch, closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap)) as admin:
        patch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)
        before = admin.list_groups()
        made = audit(topic, run, "--block-rows", "5")
        yield Whole(run, made, (before, admin.list_groups()))


def audit(topic: str, into: Path, *options: str) -> Result:
    return Result("audit", "run", "--topic", topic, "--into", str(into), "--model", "demo", "--json", *options)


def test_a_topic_is_judged_once_and_nothing_is_committed(whole: Whole) -> None:
    verdicts, letters = rows_of(whole.run)

    assert whole.result.code == 0, whole.result.err
    assert {row["event_id"] for row in verdicts} == {f"e{p}-{n}" for p in range(2) for n in range(12)} - {"e1-4"}
    assert [(row["reason"], row["source_partition"], row["source_offset"]) for row in letters] == [
        ("invalid_json", 1, 4)
    ]
    assert whole.result.json["inputs"][0]["start"] == 0
    assert whole.result.json["counts"]["rows"] == 24
    assert {row["severity"] for row in verdicts} <= {severity.value for severity in Severity}
    assert all(row["occurred_at"].hour == row["source_offset"] for row in verdicts if row["source_offset"] < 6)
    assert whole.groups[0] == whole.groups[1]


def test_a_range_by_offsets_has_the_records_between_them(topic: str, tmp_path: Path) -> None:
    part = audit(topic, tmp_path / "part", "--from", "0:2,1:3", "--to", "5", "--dry-run")

    assert part.code == 0, part.err
    assert part.json["rows"] == 5
    assert "ends at" in audit(topic, tmp_path / "late", "--to", "900").err


@pytest.mark.usefixtures("_local_ray")
def test_a_range_by_time_is_what_happened_in_it(topic: str, tmp_path: Path) -> None:
    times = ("--from", "2026-01-01T02:00:00Z", "--to", "2026-01-01T04:00:00Z")
    made = audit(topic, tmp_path / "run", *times)
    verdicts, _ = rows_of(tmp_path / "run")

    assert made.code == 0, made.err
    assert sorted(row["event_id"] for row in verdicts) == ["e0-2", "e0-3", "e1-2", "e1-3"]
    assert "have none" in audit(topic, tmp_path / "mapped", *times, "--map", "text=a").err
    assert "nothing to judge" in audit(topic, tmp_path / "none", "--from", "2027-01-01").err


@pytest.mark.usefixtures("_local_ray")
def test_a_run_that_is_taken_up_again_keeps_the_end_that_it_was_begun_with(
    kafka: KafkaCluster, topic: str, whole: Whole, tmp_path: Path
) -> None:
    before = rows_of(whole.run)
    run = shutil.copytree(whole.run, tmp_path / "run")
    folder = RunFolder(str(run))
    folder.write_manifest(folder.manifest().model_copy(update={"state": "running"}))
    (run / "blocks" / "block-000001.json").unlink()
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    producer.send(topic, b'{"event_id": "new", "text": "late"}', partition=0).get(10)
    producer.close()
    again = audit(topic, run, "--block-rows", "5")

    assert again.code == 0, again.err
    assert again.json["inputs"] == whole.result.json["inputs"]
    assert rows_of(run) == before
    folder.write_manifest(folder.manifest().model_copy(update={"state": "running"}))
    assert "inputs[0].start is another" in audit(topic, run, "--block-rows", "5", "--from", "1").err
