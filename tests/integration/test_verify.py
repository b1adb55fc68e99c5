"""`weir verify` on real Kafka: transactions, bounds in time, and the extra topics of a policy."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition

from pipelines.policy import load_policy
from schemas.record import SourceRecord
from schemas.verdict import Severity, Verdict
from tests.kafka.cluster import KafkaCluster
from tests.samples.outcomes import verdict_of
from tests.weir_result import Result
from workers.kafka.connection import group_consumer
from workers.settings.loading import Settings, load_settings
from workers.tools.verify.verify import Bounds, verify

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class TransactionSite:
    """Topics of one test, and a transactional producer that fills them."""

    def __init__(self, cluster: KafkaCluster, topics: Callable[..., str]) -> None:
        names = {name: topics(name, partitions=2) for name in ("events", "verdicts", "dead_letters")}
        self.settings = load_settings(
            kafka={"bootstrap_servers": cluster.bootstrap, "group_id": names["events"]}, topics=names
        )
        self.extra = topics("extra", partitions=1)
        self.producer = KafkaProducer(bootstrap_servers=cluster.bootstrap, transactional_id=names["events"])
        self.producer.init_transactions()

    def inputs(self, *timestamps_ms: int) -> list[SourceRecord]:
        """Write committed events, all to partition 0."""
        self.producer.begin_transaction()
        topic = self.settings.topics.events[0]
        sent = [self.producer.send(topic, b"{", b"k", partition=0, timestamp_ms=time) for time in timestamps_ms]
        self.producer.commit_transaction()
        stored = [future.get(10) for future in sent]
        return [SourceRecord(topic, 0, item.offset, item.timestamp, b"k", b"{", ()) for item in stored]

    def write(self, *verdicts: Verdict, topic: str | None = None) -> None:
        """Send verdicts within the open transaction; they are on the broker afterwards."""
        for verdict in verdicts:
            self.producer.send(topic or self.settings.topics.verdicts, verdict.to_bytes(), b"k", partition=0)
        self.producer.flush()

    def commit_offset(self, offset: int) -> None:
        """Commit the group's offset of partition 0."""
        member = group_consumer(self.settings.kafka)
        partition = TopicPartition(self.settings.topics.events[0], 0)
        member.assign([partition])
        member.commit({partition: OffsetAndMetadata(offset, "", -1)})
        member.close(autocommit=False)


@pytest.fixture
def site(kafka: KafkaCluster, topics: Callable[..., str]) -> TransactionSite:
    return TransactionSite(kafka, topics)


def test_outcomes_and_inputs_of_aborted_transactions_were_never_said(site: TransactionSite) -> None:
    first, second = site.inputs(1_000, 2_000)
    site.producer.begin_transaction()
    site.producer.send(first.topic, b"{", b"k", partition=0)
    site.write(verdict_of(first))
    site.producer.abort_transaction()
    site.producer.begin_transaction()
    site.write(verdict_of(first), verdict_of(second))
    site.producer.commit_transaction()

    ledger = verify(site.settings, once=True)
    assert ledger.is_proven, ledger
    assert (ledger.inputs, ledger.verdicts, ledger.duplicates) == (2, 2, 0)
    seen = verify(site.settings, once=True, isolation="read_uncommitted")
    assert (seen.inputs, seen.duplicates, seen.promises["once"]) == (2, 1, False)


def test_p1_a_transaction_that_closes_while_verify_reads_is_waited_for(site: TransactionSite) -> None:
    (source,) = site.inputs(1_000)
    site.producer.begin_transaction()
    site.write(verdict_of(source))
    site.commit_offset(source.offset + 1)
    steps = []

    def commit_once(done: int, total: int) -> None:
        if not steps:  # the input was read, so the ends are known already
            site.producer.commit_transaction()
        steps.append((done, total))

    ledger = verify(site.settings, allow_tail=True, progress=commit_once)
    assert ledger.is_proven, ledger
    assert (ledger.verdicts, ledger.missing) == (1, 0)
    assert steps[-1][0] == steps[-1][1]


def test_bounds_in_time_and_in_offsets_choose_inputs(site: TransactionSite, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = site.inputs(*(DAY_MS + hour * HOUR_MS for hour in range(6)))
    site.producer.begin_transaction()
    site.write(*(verdict_of(source) for source in sources if source is not sources[2]))
    site.producer.commit_transaction()
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", site.settings.kafka.bootstrap_servers)
    monkeypatch.setenv("WEIR_KAFKA__GROUP_ID", site.settings.kafka.group_id)
    for name in ("verdicts", "dead_letters"):
        monkeypatch.setenv(f"WEIR_TOPICS__{name.upper()}", getattr(site.settings.topics, name))
    monkeypatch.setenv("WEIR_TOPICS__EVENTS", site.settings.topics.events[0])

    def seen(*arguments: str) -> tuple[int, int, int]:
        result = Result("verify", "--json", *arguments)
        return result.code, result.json["inputs"], result.json["not_yet_judged"]

    day, topic = "1970-01-02", site.settings.topics.events[0]
    assert seen() == (1, 6, 1)
    assert seen("--from", f"{day}T03:00:00Z") == (0, 3, 0)
    assert seen("--since", f"{day}T03:00:00Z") == (0, 3, 0)
    assert seen("--to", f"{day}T02:00:00Z") == (0, 2, 0)
    assert seen("--from", f"{day}T01:30:00Z", "--to", f"{day}T02:30:00Z") == (1, 1, 1)
    assert seen("--from", "0:3", "--to", "0:5") == (0, 2, 0)
    assert seen("--from", f"{topic}:0:2", "--to", f"{topic}:0:3") == (1, 1, 1)
    assert seen("--from", "1:0", "--to", "0:2") == (0, 2, 0)
    assert seen("--from", "0:99") == (0, 0, 0)
    assert seen("--from", "0:4", "--to", "0:2") == (0, 0, 0)


def test_p7_the_extra_topics_of_the_policy_file_are_read_too(site: TransactionSite, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps({"name": "community", "version": "1", "topics": {"block": [site.extra]}}))
    settings = Settings.model_validate({**site.settings.model_dump(), "policy": {"file": file}})
    digest = load_policy(file).sha256
    sources = site.inputs(1_000, 2_000, 3_000)
    verdicts = [verdict_of(source, severity=Severity.UNSAFE) for source in sources[:2]] + [verdict_of(sources[2])]
    verdicts = [
        item.model_copy(update={"policy": item.policy.model_copy(update={"sha256": digest})}) for item in verdicts
    ]
    site.producer.begin_transaction()
    site.write(*verdicts)
    site.write(verdicts[0], topic=site.extra)
    site.producer.commit_transaction()
    site.commit_offset(sources[-1].offset + 1)

    ledger = verify(settings)
    assert (ledger.verdicts, ledger.duplicates, ledger.is_closed) == (3, 0, False)
    assert [(finding.kind, finding.record_id) for finding in ledger.findings] == [
        ("missing_copies", sources[1].record_id)
    ]
    site.producer.begin_transaction()
    site.write(verdicts[1], topic=site.extra)
    site.producer.commit_transaction()
    proven = verify(settings, once=True)
    assert proven.is_proven, proven
    assert verify(settings, Bounds(start={(None, 0): sources[1].offset}), once=True).outside == 2
    assert replace(proven, missing_copies=1).promises["P1"] is False
