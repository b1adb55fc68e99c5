"""The commands against real Kafka: with the configs, the rights and the transaction markers that the mock has not."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)
from typer.testing import CliRunner

from schemas.record import SourceRecord
from tests.kafka.cluster import KafkaCluster
from tests.samples.outcomes import letter_of, verdict_of, written
from tests.site import wait_until
from workers.cli.app import app
from workers.settings.loading import load_settings
from workers.settings.sections import TopicSettings

GROUP = "weir-commands"


@pytest.fixture(scope="module")
def cluster(_kafka_can_run: None) -> Iterator[KafkaCluster]:
    """One broker that asks who one is, with no topics."""
    with KafkaCluster(security=True, authorizer=True) as cluster:
        yield cluster


@pytest.fixture
def names(request: pytest.FixtureRequest, cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch) -> TopicSettings:
    """Topic names of this test, in the environment with the broker's address; the topics are not there yet."""
    stem = request.node.name.removeprefix("test_").replace("[", "-").replace("]", "")[:60]
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", cluster.bootstrap)
    monkeypatch.setenv("WEIR_KAFKA__GROUP_ID", GROUP)
    for name in ("events", "verdicts", "dead_letters"):
        monkeypatch.setenv(f"WEIR_TOPICS__{name.upper()}", f"{stem}.{name}")
    return load_settings().topics


def weir(*arguments: str) -> tuple[int, Any]:
    """Exit code, and what was printed as JSON, or the error line."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), f"a traceback: {result.exception!r}"
    return result.exit_code, json.loads(result.stdout) if result.stdout else result.stderr


def as_user(monkeypatch: pytest.MonkeyPatch, cluster: KafkaCluster, password: str = "bob-secret") -> None:
    """From now on, be bob."""
    settings = {
        "BOOTSTRAP_SERVERS": cluster.bootstrap_for("SASL_PLAINTEXT"),
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "SCRAM-SHA-256",
        "SASL_USERNAME": "bob",
        "SASL_PASSWORD": password,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"WEIR_KAFKA__{name}", value)


def allow(cluster: KafkaCluster, kind: ResourceType, name: str, *operations: ACLOperation) -> None:
    """Give bob rights; those on transactional ids hold for all that begin so."""
    admin = KafkaAdminClient(**cluster.client())
    begins = kind is ResourceType.TRANSACTIONAL_ID
    pattern = ResourcePattern(kind, name, ACLResourcePatternType.PREFIXED if begins else ACLResourcePatternType.LITERAL)
    admin.create_acls([ACL("User:bob", "*", op, ACLPermissionType.ALLOW, pattern) for op in operations])
    admin.close()


def checks(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    code, answer = weir("check", "--skip-model", *arguments)
    return code, {check["name"]: (check["status"], check["found"]) for check in answer["checks"]}


def test_topics_are_planned_made_and_then_fine(names: TopicSettings) -> None:
    assert weir("topics", "plan")[0] == 0
    code, answer = weir("topics", "plan", "--check")
    assert code == 1
    assert {topic["status"] for topic in answer["topics"]} == {"missing"}

    code, answer = weir("topics", "apply", "--partitions", "4")
    assert (code, answer["changed"]) == (0, [*names.events, names.verdicts, names.dead_letters, names.parking])
    code, answer = weir("topics", "plan", "--partitions", "4", "--check")
    assert code == 0
    assert {topic["status"] for topic in answer["topics"]} == {"fine"}
    assert weir("topics", "apply", "--partitions", "4")[1]["changed"] == []


def test_topics_that_differ_are_changed_but_never_shrunk(
    names: TopicSettings, cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = KafkaAdminClient(**cluster.client())
    topics = {
        names.dead_letters: {"num_partitions": 6, "replication_factor": 1},
        names.events[0]: {"configs": {"max.message.bytes": "4000000", "retention.ms": "777000"}},
    }
    admin.create_topics(topics, wait_for_metadata=True)
    admin.close()
    monkeypatch.setenv("WEIR_LIMITS__MAX_EVENT_BYTES", "2000000")

    code, answer = weir("topics", "apply", "--partitions", "4")
    assert (code, answer["left"]) == (1, [names.events[0], names.dead_letters])
    by_role: dict[str, Any] = {}

    def plan() -> bool:
        """Whether the broker tells of the configs that it was given; it takes its time."""
        _, answer = weir("topics", "plan", "--partitions", "4")
        by_role.update({topic["role"]: topic for topic in answer["topics"]})
        return by_role["dead letters"]["changes"] == []

    wait_until(plan, "dead letters to be as they were changed")
    assert by_role["dead letters"]["partitions"] == {"found": 6, "wanted": 4}
    assert by_role["events"]["partitions"] == {"found": 1, "wanted": 4}

    assert weir("topics", "apply", "--partitions", "6", "--allow-partition-growth")[0] == 0
    assert weir("topics", "plan", "--partitions", "6", "--check")[0] == 0
    assert configs(cluster, names.events[0])["retention.ms"] == "777000"
    assert int(configs(cluster, names.dead_letters)["max.message.bytes"]) > 4_000_000


def configs(cluster: KafkaCluster, topic: str) -> dict[str, str]:
    """A topic's own configs."""
    admin = KafkaAdminClient(**cluster.client())
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])["topic"][topic]
    admin.close()
    return {name: entry["value"] for name, entry in found.items()}


@pytest.mark.usefixtures("names")
def test_topics_that_the_cluster_refuses_are_named_with_its_reason() -> None:
    code, error = weir("topics", "apply", "--replication", "3")
    assert code == 2
    assert error.count("InvalidReplicationFactorError") == 4
    assert error.count("\n") == 1


def test_verify_and_dlq_read_what_transactions_and_retention_left(names: TopicSettings, cluster: KafkaCluster) -> None:
    assert weir("topics", "apply", "--partitions", "2")[0] == 0
    producer = KafkaProducer(**cluster.client(), transactional_id=names.events[0])
    producer.init_transactions()
    sources = []
    for number in range(12):  # every commit leaves a marker, so that offsets have gaps and end with one
        producer.begin_transaction()
        sending = producer.send(names.events[0], b"{", b"k", partition=number % 2)
        producer.commit_transaction()
        stored = sending.get(10)
        sources.append(SourceRecord(stored.topic, stored.partition, stored.offset, stored.timestamp, b"k", b"{", ()))
    producer.close()
    sender = KafkaProducer(**cluster.client())
    for number, source in enumerate(sources[:-1]):
        outcome = letter_of(source) if number % 4 == 0 else verdict_of(source)
        record = written(outcome, b"k", names, 2)
        sender.send(record.topic, record.value, record.key, record.headers, partition=record.partition)
    sender.flush()

    code, ledger = weir("verify")
    assert (code, ledger["inputs"], ledger["verdicts"], ledger["dead_letters"]) == (1, 12, 8, 3)
    assert (ledger["missing"], ledger["not_yet_judged"]) == (0, 1)
    assert weir("verify", "--allow-tail")[0] == 0

    commit(cluster, sources[-1])
    code, ledger = weir("verify", "--allow-tail")
    assert (code, ledger["findings"][0]["kind"]) == (1, "missing")
    assert ledger["findings"][0]["record_id"] == sources[-1].record_id

    admin = KafkaAdminClient(**cluster.client())
    admin.delete_records({TopicPartition(names.events[0], tp): 6 for tp in (0, 1)})
    admin.close()
    record = written(verdict_of(sources[-1]), b"k", names)
    sender.send(record.topic, record.value, record.key, record.headers).get(10)
    sender.close()
    code, ledger = weir("verify")
    assert (code, ledger["inputs"], ledger["outside"]) == (0, 6, 6)

    assert weir("dlq", "list")[1]["by_reason"][0]["count"] == 3
    assert weir("dlq", "show", sources[4].record_id)[1]["reason"] == "invalid_json"
    assert weir("dlq", "list", "--since", "1h")[1]["count"] == 3
    assert weir("dlq", "list", "--since", "2100-01-01")[1]["count"] == 0
    assert weir("verify", "--since", "2100-01-01")[1]["inputs"] == 0


def commit(cluster: KafkaCluster, record: SourceRecord) -> None:
    """Commit past a record."""
    member = KafkaConsumer(**cluster.client(), group_id=GROUP, enable_auto_commit=False)
    partition = TopicPartition(record.topic, record.partition)
    member.assign([partition])
    member.commit({partition: OffsetAndMetadata(record.offset + 1, "", -1)})
    member.close()


def test_check_passes_where_all_is_there(names: TopicSettings) -> None:
    weir("topics", "apply")
    code, found = checks()
    assert code == 0
    assert {status for status, _ in found.values()} == {"ok", "skip"}
    assert found[f"topic {names.events[0]}"] == ("ok", "events, 12 partitions")
    assert found[f"rights on {names.verdicts}"] == ("ok", "DESCRIBE and WRITE allowed")


def test_check_names_records_that_are_removed_before_they_are_judged(
    names: TopicSettings, cluster: KafkaCluster
) -> None:
    weir("topics", "apply", "--partitions", "1")
    (events,) = names.events
    admin = KafkaAdminClient(**cluster.client())
    sender = KafkaProducer(**cluster.client())
    hour_ago = int(time.time() * 1000) - 3_600_000
    for at_ms in (hour_ago, hour_ago, int(time.time() * 1000)):
        sender.send(events, b"{}", timestamp_ms=at_ms).get(10)
    sender.close()

    def found() -> tuple[str, str]:
        return checks()[1][f"retention of {events}"]

    assert found()[0] == "ok"
    commit(cluster, SourceRecord(events, 0, 0, 0, None, None, ()))
    keep(admin, events, 2 * 3_600_000 - 60_000)
    wait_until(lambda: found()[0] == "fail", "the broker to tell of its retention")
    assert "partitions 0 hold records that wait for longer than 50% of retention.ms=7140000" in found()[1]
    commit(cluster, SourceRecord(events, 0, 1, 0, None, None, ()))
    assert found()[0] == "ok"

    admin.delete_records({TopicPartition(events, 0): 3})
    admin.close()
    assert found() == ("fail", f"{events}: 1 records were removed before they were judged")
    assert checks()[1]["topic creation"] == ("ok", "auto.create.topics.enable=false")


def keep(admin: KafkaAdminClient, topic: str, retention_ms: int) -> None:
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": str(retention_ms)})])


def test_check_names_a_missing_topic_and_a_size_that_is_too_small(names: TopicSettings, cluster: KafkaCluster) -> None:
    admin = KafkaAdminClient(**cluster.client())
    admin.create_topics({names.dead_letters: {"configs": {"max.message.bytes": "1000000"}}}, wait_for_metadata=True)
    admin.close()
    code, found = checks()
    assert code == 1
    assert found[f"topic {names.events[0]}"][0] == "fail"
    assert "weir topics apply" in found[f"topic {names.events[0]}"][1]
    assert found[f"rights on {names.events[0]}"] == ("skip", f"see topic {names.events[0]}")  # one cause, once
    assert found["dead-letter size"][0] == "fail"
    assert "max.message.bytes=1000000" in found["dead-letter size"][1]
    assert found[f"topic {names.dead_letters}"][0] == "ok"


def test_check_names_rights_that_are_not_there(
    names: TopicSettings, cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    weir("topics", "apply", "--partitions", "1")
    as_user(monkeypatch, cluster)
    code, found = checks()
    assert code == 1
    assert "TopicAuthorizationFailedError" in found[f"topic {names.events[0]}"][1]
    assert found["rights on group"][0] == "fail"
    assert found["session"][0] == "ok"

    allow(cluster, ResourceType.TOPIC, names.events[0], ACLOperation.DESCRIBE)
    allow(cluster, ResourceType.TOPIC, names.verdicts, ACLOperation.WRITE)
    allow(cluster, ResourceType.TOPIC, names.dead_letters, ACLOperation.READ)
    allow(cluster, ResourceType.GROUP, GROUP, ACLOperation.READ)
    code, found = checks()
    assert code == 1
    assert found[f"rights on {names.events[0]}"] == ("fail", "READ not allowed")
    assert found[f"rights on {names.verdicts}"] == ("ok", "DESCRIBE and WRITE allowed")
    assert found[f"rights on {names.dead_letters}"] == ("fail", "WRITE not allowed")
    assert found["rights on group"][0] == "ok"
    assert found["dead-letter size"][0] == "ok"  # "not told": bob may not read configs

    code, error = weir("topics", "apply", "--partitions", "1")
    assert code == 2
    assert error.count("\n") == 1

    monkeypatch.setenv("WEIR_DELIVERY__MODE", "exactly_once")
    assert checks()[1]["transactions"] == (
        "fail",
        f"DESCRIBE and WRITE on transactional ids that begin with {GROUP}- are needed",
    )
    allow(cluster, ResourceType.TRANSACTIONAL_ID, f"{GROUP}-", ACLOperation.WRITE)
    assert checks()[1]["transactions"] == (
        "ok",
        f"{GROUP}-*: DESCRIBE allowed; WRITE is not told before it is used",
    )


@pytest.mark.usefixtures("names")
def test_check_tells_a_refused_login_from_a_broker_that_is_not_there(
    cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, cluster, "wrong")
    code, found = checks("--timeout", "2")
    assert (code, found["broker"][0], found["session"][0]) == (1, "ok", "fail")
    assert "SCRAM-SHA-256 as bob" in found["session"][1]
    assert "wrong" not in str(found)
