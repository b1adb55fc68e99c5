"""Our consumer: partitions and records are ours, nothing asks a broker that may be down, and listeners are told."""

from collections.abc import Collection, Iterator

import pytest

from schemas.record import Partition, SourceRecord
from tests.site import Site, event, wait_until
from workers.kafka.consumer import Consumer


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.owned: set[Partition] = set()

    async def assigned(self, partitions: Collection[Partition]) -> None:
        self.owned |= set(partitions)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        self.owned -= set(partitions)

    async def lost(self, partitions: Collection[Partition]) -> None:
        self.owned -= set(partitions)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def consumer(site: Site, told: Told) -> Iterator[Consumer]:
    """A member of the group that owns all partitions."""
    made = Consumer(site.settings.kafka)
    made.connect()
    made.subscribe([site.names[0]], told)
    wait_until(lambda: made.poll(200, 1) == {} and len(told.owned) == 4, "an assignment")
    yield made
    made.close()


def poll_all(consumer: Consumer, count: int) -> list[SourceRecord]:
    found: list[SourceRecord] = []

    def has_all() -> bool:
        for records in consumer.poll(50, 100).values():
            found.extend(records)
        return len(found) >= count

    wait_until(has_all, f"{count} records")
    return found


def test_nobody_is_a_member_before_it_has_connected(site: Site) -> None:
    assert not Consumer(site.settings.kafka).is_member()


def test_partitions_and_records_are_ours(site: Site, consumer: Consumer, told: Told) -> None:
    assert consumer.assignment() == told.owned == {Partition(site.names[0], number) for number in range(4)}
    assert {type(partition) for partition in (*consumer.assignment(), *told.owned)} == {Partition}
    assert consumer.is_member()
    assert consumer.rebalances == {"assigned": 1}
    assert consumer.partition_count() == 4

    site.produce([event(f"e{number}") for number in range(20)])
    records = poll_all(consumer, 20)
    assert {type(record) for record in records} == {SourceRecord}
    assert sorted(record.value or b"" for record in records) == sorted(event(f"e{number}") for number in range(20))


def test_what_is_paused_does_not_come_until_it_is_resumed_and_a_seek_brings_it_again(
    site: Site, consumer: Consumer
) -> None:
    consumer.pause(consumer.assignment())
    site.produce([event("one")])
    assert consumer.paused() == consumer.assignment()
    assert consumer.poll(200, 10) == {}
    consumer.resume(consumer.assignment())
    (record,) = poll_all(consumer, 1)
    partition = Partition(record.topic, record.partition)
    assert consumer.position(partition) == record.offset + 1
    consumer.seek(partition, record.offset)
    assert poll_all(consumer, 1) == [record]
    assert consumer.position(Partition(record.topic, 99)) is None


def test_a_commit_is_answered_by_a_later_poll_and_a_text_stands_beside_it(site: Site, consumer: Consumer) -> None:
    answers: list[BaseException | None] = []
    partition = Partition(site.names[0], 2)
    consumer.commit({partition: 7}, "text", answers.append)
    assert answers == []
    wait_until(lambda: consumer.poll(20, 1) == {} and answers != [], "an answer")

    assert answers == [None]
    assert site.committed()[2] == 7
    assert consumer.committed_texts(sorted(consumer.assignment())) == ["text"]


def test_log_ends_are_asked_for_without_waiting(site: Site, consumer: Consumer) -> None:
    site.produce([event(f"e{number}") for number in range(5)])
    asked = consumer.ask_ends(consumer.assignment())
    wait_until(lambda: consumer.poll(20, 1) is not None and asked.is_done, "an answer")

    assert sum(found.offset for found in asked.value.values()) == 5
