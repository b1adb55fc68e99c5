"""Partitions that cannot be read: when their batch is given up, and what stands in its records' places."""

from typing import Any

from schemas.cut_value import CutValue
from schemas.errors import UnreadableRecordsError
from schemas.record import Partition
from workers.stream.unreadable import READ_AGAIN_S, UnreadablePartitions

PLACE = Partition("events", 2)


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Positions:
    """As much of a consumer as is asked here; the partition is owned, and stands before the batch."""

    def __init__(self, position: int) -> None:
        self.at = position

    def assignment(self) -> set[Partition]:
        return {PLACE}

    def position(self, _: Partition) -> int:
        return self.at

    def seek(self, _: Partition, offset: int) -> None:
        self.at = offset


def damaged(end: int | None = 15) -> UnreadableRecordsError:
    return UnreadableRecordsError(PLACE.topic, PLACE.number, 10, "CorruptRecordError", end)


def test_a_batch_is_given_up_after_a_time_piece_by_piece_and_its_partition_stands_behind_it() -> None:
    clock, consumer = Clock(), Positions(10)
    held = UnreadablePartitions(clock, after_s=60)
    seen: list[Any] = []
    for clock.now in (0.0, 30.0, 59.0):
        held.hold(damaged())
        assert held.given_up(consumer, 2) == []  # type: ignore[arg-type]
    clock.now = 60.0
    while records := held.given_up(consumer, 2):  # type: ignore[arg-type]
        assert len(records) <= 2
        seen += records
    assert [(record.topic, record.partition, record.offset) for record in seen] == [
        (*PLACE, offset) for offset in range(10, 15)
    ]
    assert {type(record.value) for record in seen} == {CutValue}
    assert (consumer.at, held.held) == (15, {})


def test_what_a_person_gives_up_stays_given_up_if_it_is_tried_once_more_before() -> None:
    held, consumer = UnreadablePartitions(Clock()), Positions(10)
    held.hold(damaged())
    assert held.give_up(PLACE) == (10, 15)
    held.hold(damaged())
    assert len(held.given_up(consumer, 100)) == 5  # type: ignore[arg-type]


def test_a_batch_whose_end_is_not_known_waits_and_so_does_what_nobody_gives_up() -> None:
    clock, consumer = Clock(), Positions(10)
    for held, end in ((UnreadablePartitions(clock, after_s=1), None), (UnreadablePartitions(clock), 15)):
        clock.now = 0.0
        held.hold(damaged(end))
        assert (held.give_up(PLACE) is None) is (end is None)
        if end is None:
            clock.now = 1e6
            assert held.given_up(consumer, 5) == []  # type: ignore[arg-type]
    assert held.give_up(Partition("events", 3)) is None


def test_a_partition_is_tried_again_after_a_while_and_forgotten_once_it_went_on() -> None:
    clock, consumer = Clock(), Positions(10)
    held = UnreadablePartitions(clock)
    held.hold(damaged())
    assert held.waiting(consumer) == {PLACE}  # type: ignore[arg-type]
    clock.now = READ_AGAIN_S
    assert held.waiting(consumer) == set()  # type: ignore[arg-type]
    assert set(held.held) == {PLACE}
    consumer.at = 11
    held.waiting(consumer)  # type: ignore[arg-type]
    assert held.held == {}
