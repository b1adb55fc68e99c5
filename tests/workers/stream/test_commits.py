"""Commits of a worker that stops: tried until they are stored, and asked for only once nothing is in flight."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import FencedInstanceIdError, RebalanceInProgressError

from pipelines.in_flight import InFlightLimits, Load
from workers.stream.assignment import Assignment, Offsets
from workers.stream.commits import ANSWER_S, RETRY_S, Commits

PLACE = TopicPartition("events", 0)
ENOUGH = Load(100, 100, 100)


class Coordinator:
    """Stands where the consumer does: keeps what it is asked to commit, and answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Offsets, Callable[[Offsets, object], None]]] = []

    def commit_async(self, offsets: Offsets, callback: Callable[[Offsets, object], None]) -> None:
        self.asked.append((offsets, callback))

    def answer(self, answer: object) -> None:
        offsets, callback = self.asked[-1]
        callback(offsets, answer)


class Stopping:
    """A worker that stops with one record done and not committed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limits = InFlightLimits(ENOUGH, 0.5)
        assignment = Assignment(self.limits, lambda: "")
        assignment.assign([PLACE])
        record: Any = SimpleNamespace(offset=4, is_decided=True, is_completed=True)
        partition = assignment.get("events", 0)
        assert partition is not None
        partition.offsets.deliver(record)
        list(partition.offsets.release())
        self.consumer = Coordinator()
        self._commits = Commits(assignment, 600.0, False, lambda _, __: None, lambda: self.now)

    def is_finished(self) -> bool:
        return self._commits.finished(self.consumer)  # type: ignore[arg-type]


def test_p2_what_is_done_is_committed_before_a_worker_leaves_also_where_a_rebalance_refuses_it() -> None:
    stopping = Stopping()
    assert not stopping.is_finished()
    assert not stopping.is_finished(), "one at a time"
    assert len(stopping.consumer.asked) == 1
    stopping.consumer.answer(RebalanceInProgressError())
    assert not stopping.is_finished(), "not at once"
    stopping.now += RETRY_S
    assert not stopping.is_finished()
    stopping.consumer.answer(None)
    assert stopping.is_finished()
    assert [offsets[PLACE].offset for offsets, _ in stopping.consumer.asked] == [5, 5]


def test_a_commit_that_is_never_answered_is_tried_again() -> None:
    stopping = Stopping()
    stopping.is_finished()
    stopping.now += ANSWER_S
    stopping.is_finished()
    assert len(stopping.consumer.asked) == 2


def test_nothing_is_finished_while_records_are_in_flight() -> None:
    stopping = Stopping()
    stopping.limits.add(1, 1)
    assert not stopping.is_finished()
    assert stopping.consumer.asked == []


def test_a_refusal_that_no_retry_can_help_ends_the_worker() -> None:
    stopping = Stopping()
    stopping.is_finished()
    stopping.consumer.answer(FencedInstanceIdError())
    with pytest.raises(FencedInstanceIdError):
        stopping.is_finished()
