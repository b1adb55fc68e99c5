"""`weir dlq redrive` and `weir dlq purge` as a user meets them, on a broker that asks who one is."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import ACLOperation, ResourceType
from typer.testing import CliRunner

from schemas.reasons import Reason
from schemas.record import SourceRecord
from tests.integration.test_commands import allow, as_user, weir
from tests.kafka.cluster import KafkaCluster
from tests.samples.outcomes import letter_of, written
from workers.cli.app import app
from workers.kafka.reader import TopicReader
from workers.settings.loading import Settings, load_settings

SECRET = "the quick brown secret"


@pytest.fixture(scope="module")
def cluster(_kafka_can_run: None) -> Iterator[KafkaCluster]:
    """One broker that asks who one is, with no topics."""
    with KafkaCluster(security=True, authorizer=True) as cluster:
        yield cluster


@pytest.fixture
def settings(request: pytest.FixtureRequest, cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Topics of this test with two partitions each, their names in the environment with the broker's address."""
    stem = re.sub(r"\W", "-", request.node.name.removeprefix("test_"))[:40] + uuid.uuid4().hex[:8]
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", cluster.bootstrap)
    monkeypatch.setenv("WEIR_KAFKA__GROUP_ID", stem)
    for name in ("events", "verdicts", "dead_letters"):
        monkeypatch.setenv(f"WEIR_TOPICS__{name.upper()}", f"{stem}.{name}")
    assert weir("topics", "apply", "--partitions", "2")[0] == 0
    return load_settings()


@pytest.fixture
def dead(settings: Settings, cluster: KafkaCluster) -> Settings:
    """Four letters of two reasons in partition 0, two of them in partition 1, and a foreign record in partition 1."""
    sender = KafkaProducer(**cluster.client())
    topics = settings.topics
    for number in range(6):
        value = json.dumps({"event_id": f"e{number}", "text": SECRET, "tenant": "kids"}).encode()
        source = SourceRecord(topics.events[0], number % 3 % 2, number, 0, b"k", value, ())
        letter = letter_of(source, Reason.TOO_LONG if number % 2 else Reason.INFERENCE_FAILED)
        record = written(letter, b"k", topics, 2)
        sender.send(record.topic, record.value, record.key, record.headers, partition=record.partition)
    sender.send(topics.dead_letters, SECRET.encode(), partition=1)
    sender.flush()
    sender.close()
    return settings


def count(settings: Settings, topic: str) -> int:
    with TopicReader(settings.kafka) as reader:
        return len(list(reader.read(reader.ranges((topic,)))))


def typed(*arguments: str, answer: str = "") -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    result = CliRunner().invoke(app, list(arguments), input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), f"a traceback: {result.exception!r}"
    assert SECRET not in result.output
    return result.exit_code, result.stdout, result.stderr


# -- redrive -----------------------------------------------------------------------------------------------------------


def test_a_redrive_is_looked_at_first_then_done_and_says_what_it_left(dead: Settings) -> None:
    code, out, _ = typed("dlq", "redrive", "--dry-run")
    assert code == 0
    assert "would be put back" in out
    assert "inference_failed" in out
    assert count(dead, dead.topics.events[0]) == 0

    code, answer = weir("dlq", "redrive", "--reason", "too_long", "--max", "2")
    assert (code, answer["put_back"], answer["complete"]) == (0, 2, False)
    code, answer = weir("dlq", "redrive")
    assert (code, answer["put_back"], answer["left"], answer["earlier"]) == (1, 4, 1, 2)
    assert answer["by_target"] == {dead.topics.events[0]: 4}
    [left] = answer["left_letters"]
    assert left == {"dead_letter": left["dead_letter"], "why": "no header says where it comes from"}
    assert count(dead, dead.topics.events[0]) == 6

    code, out, _ = typed("dlq", "redrive")  # what was left is looked at again, what was put back is not
    assert (code, "0 put back, 0 parked, 1 left" in out, left["dead_letter"] in out) == (1, True, True)
    assert typed("dlq", "redrive", "--reason", "too_long")[0] == 0


@pytest.mark.parametrize(
    ("option", "error"),
    [
        (("--to", "{0.verdicts}"), "the topic of verdicts"),
        (("--to", "{0.dead_letters}"), "a topic of dead letters"),
        (("--to", "__consumer_offsets"), "a topic of Kafka's own"),
        (("--to", "no.such.topic"), "does not exist"),
        (("--topic", "no.such.topic"), "does not exist"),
        (("--topic", "{0.verdicts}"), "equals topics.dead_letters"),
    ],
)
def test_a_destination_or_topic_that_makes_no_sense_is_one_line(
    settings: Settings, option: tuple[str, ...], error: str
) -> None:
    code, _, err = typed("dlq", "redrive", *(part.format(settings.topics) for part in option))
    assert (code, err.count("\n")) == (2, 1)
    assert error in err


def test_a_redrive_names_the_right_that_is_missing_and_then_loses_nothing(
    dead: Settings, cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics, group = dead.topics, f"{dead.kafka.group_id}.redrive"
    as_user(monkeypatch, cluster)

    def refused() -> str:
        code, _, err = typed("dlq", "redrive")
        assert (code, err.count("\n")) == (2, 1)
        return err

    assert f"topic {topics.dead_letters}: does not exist, or this user may not see it" in refused()
    allow(cluster, ResourceType.TOPIC, topics.dead_letters, ACLOperation.DESCRIBE)
    assert f"group {group}: READ is not allowed" in refused()
    allow(cluster, ResourceType.GROUP, group, ACLOperation.DESCRIBE)
    assert "READ is not allowed" in refused()
    allow(cluster, ResourceType.GROUP, group, ACLOperation.READ)
    assert f"READ is not allowed to this user, on topic {topics.dead_letters}" in refused()
    allow(cluster, ResourceType.TOPIC, topics.dead_letters, ACLOperation.READ)
    assert f"topic {topics.events[0]}: " in refused()
    allow(cluster, ResourceType.TOPIC, topics.events[0], ACLOperation.DESCRIBE)
    assert f"topic {topics.events[0]}: WRITE is not allowed to this user" in refused()
    allow(cluster, ResourceType.TOPIC, topics.parking, ACLOperation.WRITE)
    assert f"topic {topics.events[0]}: WRITE is not allowed to this user" in refused()
    assert count(dead, topics.events[0]) == 0

    allow(cluster, ResourceType.TOPIC, topics.events[0], ACLOperation.WRITE)
    code, answer = weir("dlq", "redrive")
    assert (code, answer["put_back"], answer["left"]) == (1, 6, 1)


# -- purge -------------------------------------------------------------------------------------------------------------


def test_nothing_is_purged_unless_somebody_says_yes(dead: Settings) -> None:
    topic = dead.topics.dead_letters
    code, out, _ = typed("dlq", "purge", "--all", "--dry-run")
    assert code == 0
    assert "would be deleted" in out
    assert "7 offsets" in out
    assert "too_long 3" in out
    for answer in ("n\n", "", "perhaps\n"):
        code, _, err = typed("dlq", "purge", "--all", answer=answer)
        assert (code, "for good" in err) == (1, True)
    assert count(dead, topic) == 7

    code, out, _ = typed("dlq", "purge", "--all", answer="y\n")
    assert (code, count(dead, topic)) == (0, 0)
    assert weir("dlq", "purge", "--all", "--yes") == (
        0, {"topic": topic, "dry_run": False, "offsets": 0, "partitions": []},
    )  # fmt: skip


def test_a_purge_ends_at_an_offset_or_a_time(dead: Settings) -> None:
    topic = dead.topics.dead_letters
    code, answer = weir("dlq", "purge", "--before-offset", "0:3", "--yes")
    assert (code, answer["partitions"]) == (0, [{"partition": 0, "from": 0, "before": 3}])
    assert count(dead, topic) == 4
    assert weir("dlq", "purge", "--before", "1h", "--yes")[1]["offsets"] == 0
    code, answer = weir("dlq", "purge", "--before", "2100-01-01", "--dry-run")
    assert (code, answer["offsets"], answer["foreign"]) == (0, 4, 1)
    assert weir("dlq", "purge", "--before", "2100-01-01", "--yes")[0] == 0
    assert count(dead, topic) == 0
    assert weir("dlq", "redrive")[1]["put_back"] == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((), "give one of"),
        (("--all", "--before", "1h"), "give one of"),
        (("--before-offset", "0"), "not PARTITION:OFFSET"),
        (("--before-offset", "7:1"), "no such partition"),
        (("--before-offset", "0:99"), "ends before"),
        (("--all", "--topic", "no.such.topic"), "does not exist"),
    ],
)
@pytest.mark.usefixtures("settings")
def test_a_purge_that_is_not_clear_is_refused(options: tuple[str, ...], error: str) -> None:
    code, _, err = typed("dlq", "purge", "--yes", *options)
    assert (code, err.count("\n")) == (2, 1)
    assert error in err


def test_a_purge_names_the_right_that_is_missing(
    dead: Settings, cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = dead.topics.dead_letters
    as_user(monkeypatch, cluster)
    allow(cluster, ResourceType.TOPIC, topic, ACLOperation.READ)
    code, _, err = typed("dlq", "purge", "--all", "--yes")
    assert (code, err.count("\n")) == (2, 1)
    assert f"topic {topic}: DELETE is not allowed to this user" in err
    assert count(dead, topic) == 7


def test_letters_are_listed_by_model_revision_time_and_topic(dead: Settings) -> None:
    def listed(*options: str) -> Any:
        code, answer = weir("dlq", "list", *options)
        assert code == 0
        return answer["count"], answer["foreign"]

    assert listed() == (6, 1)
    assert listed("--until", "1h") == (0, 0)
    assert listed("--model-revision", "r1") == (0, 0)
    assert listed("--topic", dead.topics.parking) == (0, 0)
