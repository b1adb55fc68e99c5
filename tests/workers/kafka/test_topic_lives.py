"""Input topics that go, come back and go back: what was read counts for nothing then, and no other partition waits."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from pipelines.in_flight import InFlightLimits, Load
from schemas.record import Partition
from tests.guards.scripted_guard import Gate, ScriptedGuard
from tests.site import Site, event, wait_until
from workers.kafka.producer import producer
from workers.kafka.reader import CommittedOffset, GroupOffsets
from workers.kafka.topic_lives import TopicLives, unmarked
from workers.settings.loading import Settings
from workers.stream.assignment import Assignment
from workers.telemetry.log import log_event

NO_ID = UUID(int=0)
PARTITIONS = 4


class FakeCluster:
    """What a client knows of topics: an id each, or that it is missing."""

    def __init__(self, **ids: UUID | None) -> None:
        self.ids = ids

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {0} if topic in self.ids else None

    def topic_id(self, topic: str) -> UUID | None:
        return self.ids.get(topic)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Names of the events that were logged."""
    return [record.msg.name for record in caplog.records if isinstance(record.msg, log_event)]


def test_a_topic_with_another_id_has_begun_a_new_life(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    cluster = FakeCluster(a=UUID(int=1), b=UUID(int=2))
    lives = TopicLives(["a", "b"])
    assert lives.begun(cluster) == lives.begun(cluster) == []

    del cluster.ids["a"]
    assert lives.begun(cluster) == lives.begun(cluster) == []
    assert told(caplog) == ["topic_missing"]
    cluster.ids["a"] = NO_ID  # as brokers say of what they do not know
    assert lives.begun(cluster) == []
    cluster.ids["a"] = UUID(int=3)
    assert lives.begun(cluster) == ["a"]
    assert lives.begun(cluster) == []
    assert told(caplog) == ["topic_missing", "topic_found", "topic_recreated"]


def test_what_is_stored_beside_an_offset_tells_in_which_life_of_its_topic() -> None:
    cluster = FakeCluster(a=UUID(int=1), old=None)
    before, after = TopicLives(["a", "old"]), TopicLives(["a", "old"])
    before.begun(cluster)
    stored = before.marks["a"] + "mix"
    cluster.ids["a"] = UUID(int=2)
    after.begun(cluster)

    assert unmarked(stored) == unmarked("mix") == "mix"
    assert "old" not in after.marks
    told = [after.is_of_another(*beside) for beside in (("a", stored), ("a", "mix"), ("old", stored))]
    assert told == [True, False, False]
    assert not before.is_of_another("a", stored)


def test_a_topic_that_comes_back_as_it_was_goes_on_and_servers_without_ids_tell_nothing() -> None:
    cluster = FakeCluster(a=UUID(int=1), old=None)
    lives = TopicLives(["a", "old"])
    assert lives.begun(cluster) == []
    del cluster.ids["a"], cluster.ids["old"]
    assert lives.begun(cluster) == []
    cluster.ids |= {"a": UUID(int=1), "old": None}
    assert lives.begun(cluster) == []


def test_p1_a_partition_that_goes_back_is_read_again_from_what_was_unfinished(site: Site) -> None:
    gate = Gate()

    async def script(_: object) -> None:
        await gate.passed()

    settings = site.settings_with(kafka={"max_poll_records": 5})
    guard = ScriptedGuard(script=script)
    worker = site.start(guard, settings)
    sender = producer(site.settings.kafka)
    for number in range(20):
        sender.send(site.names[0], event(f"e{number}", f"text {number}"), partition=1)
    sender.flush()
    wait_until(lambda: worker.in_flight == 20, "all to be in flight")
    worker._consumer.seek(Partition(site.names[0], 1), 10)  # noqa: SLF001 - as after a truncation
    sender.send(site.names[0], event("e20"), partition=1)
    sender.flush()
    wait_until(lambda: worker.in_flight == 21, "all to be in flight again, none of them twice")
    gate.open()
    site.wait_for(21)

    assert worker.stop(10.0)
    sender.close()
    asked = [text for call in guard.calls for text in call]
    assert [asked.count(f"text {number}") for number in (0, 19)] == [2, 2], "what stands there now was not judged"
    assert [verdict["event_id"] for verdict in site.verdicts()] == [f"e{number}" for number in range(21)]
    assert site.committed()[1] == 21


def test_p2_a_commit_of_the_former_life_that_is_answered_late_counts_for_nothing() -> None:
    tp = Partition("a", 0)
    assignment = Assignment(InFlightLimits(Load(10, 10, 10), 0.5))
    assignment.assign([tp])

    def complete(offsets: range) -> None:
        owned: Any = assignment.get(tp)
        for offset in offsets:
            owned.offsets.deliver(SimpleNamespace(offset=offset, is_decided=True, is_completed=True))

    complete(range(100, 200))
    former = assignment.committable()
    assignment.begin_anew([tp])
    complete(range(3))
    assignment.stored(former)
    assert assignment.committable() == {tp: 3}


@pytest.fixture
def admin(kafka_site: Site) -> Iterator[KafkaAdminClient]:
    made = KafkaAdminClient(bootstrap_servers=kafka_site.settings.kafka.bootstrap_servers)
    yield made
    made.close()


@pytest.fixture
def other(kafka_site: Site, admin: KafkaAdminClient) -> str:
    """A second input topic."""
    name = f"other-{kafka_site.suffix}"
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    return name


def with_topics(site: Site, *events: str) -> Settings:
    settings = site.settings
    return settings.model_copy(update={"topics": settings.topics.model_copy(update={"events": events})})


def is_done(change: Callable[[], object], over: type[KafkaError]) -> Callable[[], bool]:
    """Whether a change of topics that may have to wait for another one is done now."""

    def attempt() -> bool:
        try:
            change()
        except over:
            return False
        return True

    return attempt


def send(site: Site, topic: str, names: list[str]) -> None:
    sender = producer(site.settings.kafka)
    for name in names:
        sender.send(topic, event(name), partition=int(name[-2:]) % PARTITIONS).get(30)
    sender.close()


@pytest.mark.integration
@pytest.mark.parametrize("pause", ["at once", "later"])
def test_p1_an_input_topic_that_is_deleted_and_created_again_is_read_from_its_beginning(
    kafka_site: Site, admin: KafkaAdminClient, other: str, pause: str, caplog: pytest.LogCaptureFixture
) -> None:
    site, topic = kafka_site, kafka_site.names[0]
    worker = site.start(ScriptedGuard(), with_topics(site, topic, other))
    send(site, topic, [f"first{number:02}" for number in range(40)])
    site.wait_for(40)
    wait_until(lambda: sum(site.committed().values()) == 40, "the first life to be committed")

    admin.delete_topics([topic])
    if pause == "later":
        wait_until(lambda: "topic_missing" in told(caplog), "the worker to say that it is gone")
        send(site, other, [f"meanwhile{number:02}" for number in range(40)])
        site.wait_for(80)
        assert worker.stuck_reason() is None
    create = is_done(lambda: admin.create_topics([NewTopic(topic, PARTITIONS, 1)]), TopicAlreadyExistsError)
    wait_until(create, "the topic to be there again")
    names = [f"second{number:02}" for number in range(100)]
    wait_until(is_done(lambda: send(site, topic, names[:1]), UnknownTopicOrPartitionError), "the topic to be ready")
    send(site, topic, names[1:])
    last = [f"last{number:02}" for number in range(40)]
    send(site, other, last)

    # Not by count: what was not committed while the group moved is judged again.
    wait_until(lambda: {*names, *last} <= {verdict["event_id"] for verdict in site.verdicts()}, "all to be judged")
    assert worker.stop(10.0)
    assert worker.failure is None
    assert site.committed() == dict.fromkeys(range(PARTITIONS), 25)


@pytest.mark.integration
@pytest.mark.parametrize("is_former", [True, False])
def test_p1_an_offset_that_a_killed_worker_stored_in_a_topics_former_life_counts_for_nothing(
    kafka_site: Site, caplog: pytest.LogCaptureFixture, *, is_former: bool
) -> None:
    site = kafka_site
    site.produce([event(f"e{number}") for number in range(40)])
    first = site.start(ScriptedGuard())
    site.wait_for(40)
    wait_until(lambda: sum(site.committed().values()) == 40, "all to be committed")
    assert first.stop(10.0)
    partitions = [Partition(site.names[0], number) for number in site.committed()]
    if is_former:  # as if the topic had been created again, and filled, while the last commit was under way
        with GroupOffsets(site.settings.kafka, site.settings.kafka.group_id) as group:
            group.commit({partition: CommittedOffset(1, f"life={'0' * 31}7;") for partition in partitions})
    second = site.start(ScriptedGuard())
    site.produce([event("e40")])
    site.wait_for(81 if is_former else 41)
    assert second.stop(10.0)

    assert ("offset_of_a_former_life" in told(caplog)) is is_former
    assert {verdict["event_id"] for verdict in site.verdicts()} == {f"e{number}" for number in range(41)}
    assert sum(site.committed().values()) == 41
