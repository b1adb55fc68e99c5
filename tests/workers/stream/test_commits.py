"""Commits of a worker that stops: tried until they are stored, and asked for only once nothing is in flight."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import FencedInstanceIdError, RebalanceInProgressError

from pipelines.in_flight import InFlightLimits, Load
from schemas.record import Partition
from workers.stream.assignment import Assignment
from workers.stream.commits import ANSWER_S, RETRY_S, Commits

PLACE = Partition("events", 0)
Offsets = dict[Partition, int]
Answered = Callable[[BaseException | None], None]
ENOUGH = Load(100, 100, 100)


class Coordinator:
    """Stands where the consumer does: keeps what it is asked to commit, and answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Offsets, Answered]] = []

    def commit(self, offsets: Offsets, text: str, answered: Answered) -> None:
        assert text == "mix"
        self.asked.append((offsets, answered))

    def answer(self, error: BaseException | None) -> None:
        self.asked[-1][1](error)


class Stopping:
    """A worker that stops with one record done and not committed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limits = InFlightLimits(ENOUGH, 0.5)
        assignment = Assignment(self.limits)
        assignment.assign([PLACE])
        record: Any = SimpleNamespace(offset=4, is_decided=True, is_completed=True)
        partition = assignment.get(PLACE)
        assert partition is not None
        partition.offsets.deliver(record)
        list(partition.offsets.release())
        self.consumer = Coordinator()
        parts: Any = self.consumer, SimpleNamespace(is_open=False, baseline=lambda: "mix")
        tracer: Any = SimpleNamespace(committed=lambda _, __: None)
        self.commits = Commits(
            parts[0],
            assignment,
            parts[1],
            tracer,
            interval_s=600.0,
            is_named=False,
            in_transaction=False,
            clock=lambda: self.now,
        )

    def is_finished(self) -> bool:
        return self.commits.finished()


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
    assert [offsets[PLACE] for offsets, _ in stopping.consumer.asked] == [5, 5]


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


def test_a_refusal_ends_the_worker_at_its_next_turn_and_not_when_the_next_commit_is_due() -> None:
    stopping = Stopping()
    stopping.commits.commit_when_due()
    stopping.consumer.answer(FencedInstanceIdError())
    with pytest.raises(FencedInstanceIdError):
        stopping.commits.commit_when_due()


def test_one_commit_at_a_time_and_no_more_of_them_than_the_interval_allows() -> None:
    running = Stopping()
    running.commits.commit_when_due()
    running.now += 600
    running.commits.commit_when_due()
    assert len(running.consumer.asked) == 2, "an answer that never came"
    running.commits.commit_when_due()
    running.consumer.answer(None)
    running.now += 1
    running.commits.commit_when_due()
    assert len(running.consumer.asked) == 2
