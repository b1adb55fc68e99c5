"""Offsets: never committable past an unfinished record (P2), released in order and once (P8), whatever the order.

And limits (P9): any of the three figures holds a partition that has more than is left for all.
"""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipelines.in_flight import InFlightLimits, Load, PartitionOffsets

LIMIT = Load(10, 1_000, 100)


@dataclass
class Item:
    """A tracked record whose flags the test sets."""

    offset: int
    is_decided: bool = False
    is_completed: bool = False


class Partition(RuleBasedStateMachine):
    """One partition under any interleaving of broker, guard and publisher, beside a model that is only a list."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets: PartitionOffsets[Item] = PartitionOffsets()
        self.delivered: list[Item] = []
        self.released: list[Item] = []
        self.commits: list[int] = []

    @rule(gap=st.integers(0, 3))
    def deliver(self, gap: int) -> None:
        item = Item((self.delivered[-1].offset + 1 if self.delivered else 0) + gap)
        self.offsets.deliver(item)
        self.delivered.append(item)

    @precondition(lambda self: any(not item.is_decided for item in self.delivered))
    @rule(data=st.data())
    def decide(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([item for item in self.delivered if not item.is_decided])).is_decided = True

    @rule()
    def release(self) -> None:
        self.released += self.offsets.release()

    @precondition(lambda self: any(not item.is_completed for item in self.released))
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([item for item in self.released if not item.is_completed])).is_completed = True

    @rule()
    def commit(self) -> None:
        ahead = self.offsets.uncommitted
        if ahead is not None:
            self.commits.append(ahead)
            self.offsets.committed = ahead

    @invariant()
    def committable_stops_at_the_first_record_that_is_not_completed(self) -> None:
        unfinished = [item.offset for item in self.delivered if not item.is_completed]
        end = self.delivered[-1].offset + 1 if self.delivered else None
        assert self.offsets.committable == (unfinished[0] if unfinished else end)

    @invariant()
    def released_is_the_decided_head_of_what_was_delivered(self) -> None:
        assert self.released == self.delivered[: len(self.released)]
        assert all(item.is_decided for item in self.released)

    @invariant()
    def commits_only_grow(self) -> None:
        assert self.commits == sorted(set(self.commits))

    @invariant()
    def in_flight_is_what_is_not_completed(self) -> None:
        assert self.offsets.in_flight() == [item for item in self.delivered if not item.is_completed]

    def teardown(self) -> None:
        """Everything is finished in the end: nothing is left behind, each record was released once."""
        for item in self.delivered:
            item.is_decided = True
        self.release()
        for item in self.delivered:
            item.is_completed = True
        self.commit()
        assert self.released == self.delivered
        if self.delivered:
            assert self.offsets.committed == self.delivered[-1].offset + 1
            assert self.offsets.uncommitted is None


Partition.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None, derandomize=True)
TestP2P8AnyInterleavingKeepsTheOrderAndNeverCommitsAhead = Partition.TestCase


def test_p2_nothing_is_committable_before_the_first_delivery() -> None:
    offsets: PartitionOffsets[Item] = PartitionOffsets()

    assert (offsets.committable, offsets.uncommitted) == (None, None)


def test_p2_a_commit_restates_nothing_that_is_committed() -> None:
    offsets: PartitionOffsets[Item] = PartitionOffsets()
    offsets.deliver(Item(7, is_decided=True, is_completed=True))
    assert offsets.uncommitted == 8

    offsets.committed = 8

    assert offsets.uncommitted is None


@pytest.mark.parametrize("again", [4, 5])
def test_p8_an_offset_delivered_twice_or_backwards_is_refused(again: int) -> None:
    offsets: PartitionOffsets[Item] = PartitionOffsets()
    offsets.deliver(Item(5))

    with pytest.raises(ValueError, match=f"offset {again} delivered after 5"):
        offsets.deliver(Item(again))


def shares(limits: InFlightLimits, *loads: Load) -> list[bool]:
    """Which of some partitions that have so much in flight are held."""
    for load in loads:
        limits.add(load.bytes, load.tokens, load.records)
    return [limits.holds(load, is_held=False) for load in loads]


@pytest.mark.parametrize("hog", [Load(6, 1, 1), Load(1, 501, 1), Load(1, 1, 51), Load(1, 5_000, 1), Load(1, 0, 7_777)])
def test_p9_a_partition_is_held_by_any_figure_that_is_more_than_is_left(hog: Load) -> None:
    assert shares(InFlightLimits(LIMIT, 0.5), hog, Load()) == [True, False]


def test_p9_one_that_stands_still_leaves_the_others_half() -> None:
    limits, hog = InFlightLimits(LIMIT, 0.5), Load()
    while not limits.holds(hog, is_held=False):
        hog.add(1, 1)
        limits.add(1, 1)

    assert (hog.records, limits.room) == (6, 2)
    assert not limits.holds(Load(3, 3, 3), is_held=False)


def test_p9_a_partition_that_is_held_goes_on_at_a_share_of_what_is_left() -> None:
    limits = InFlightLimits(LIMIT, 0.5)
    limits.add(4, 4, 4)

    assert [limits.holds(Load(own, own, own), is_held=True) for own in (3, 4)] == [False, True]
    assert not limits.holds(Load(4, 4, 4), is_held=False)


@given(
    limit=st.builds(Load, st.integers(1, 20), st.integers(1, 200), st.integers(1, 200)),
    ratio=st.floats(0.01, 0.99),
    sizes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300), st.integers(0, 300)), max_size=60),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_p9_partitions_that_ask_first_pass_the_limit_by_no_more_than_one_record_each(
    limit: Load, ratio: float, sizes: list[tuple[int, int, int]]
) -> None:
    limits, loads = InFlightLimits(limit, ratio), [Load(), Load(), Load()]
    for which, bytes_, tokens in sizes:
        if not limits.holds(loads[which], is_held=False):
            limits.add(bytes_, tokens)
            loads[which].add(bytes_, tokens)
        assert limits.records == sum(load.records for load in loads) <= limit.records + len(loads)
        assert limits.bytes < limit.bytes + len(loads) * 301
