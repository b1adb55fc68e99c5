"""Input topics with holes, with aborted records, with more partitions than before, and with another life."""

from __future__ import annotations

import pytest

from tests.chaos.arena import EXACTLY_ONCE, Arena
from tests.chaos.conftest import AT_LEAST_ONCE_ONLY, NewArena
from tests.chaos.load import Load, Mix, draw_events
from tests.chaos.waiting import wait_until

ABORT_S = 30.0


def produce_in_transactions(arena: Arena, count: int, *, abort_every: int = 0) -> list[tuple[int, int]]:
    """Write small transactions; returns the places of those that were aborted."""
    load = Load(arena.site.bootstrap(), arena.topics["events"], **{"transactional.id": arena.group})
    load.sent = arena.load.sent
    load.producer.init_transactions(ABORT_S)
    aborted: list[tuple[int, int]] = []
    for number in range(count):
        load.producer.begin_transaction()
        before = set(load.sent)
        load.produce(draw_events(arena.random, 5, Mix(), number * 5))
        if abort_every and number % abort_every == 0:
            load.producer.abort_transaction(ABORT_S)
            aborted += set(load.sent) - before
        else:
            load.producer.commit_transaction(ABORT_S)
    return aborted


@pytest.mark.ci(EXACTLY_ONCE)
def test_transaction_markers_leave_gaps(new_arena: NewArena) -> None:
    arena = new_arena(seed=701)
    produce_in_transactions(arena, 40)
    assert sum(arena.view.ends().values()) > len(arena.load.sent)
    victim, _ = arena.start_members(2)
    wait_until(lambda: victim.report.completed > 0 or arena.all_committed(), "work to begin")
    victim.kill()
    arena.settle()
    arena.check_closed(duplicates=True)


def test_aborted_transactions_are_not_moderated(new_arena: NewArena) -> None:
    arena = new_arena(seed=702)
    for place in produce_in_transactions(arena, 30, abort_every=3):
        del arena.load.sent[place]
    arena.start()
    arena.settle()
    arena.check_closed(duplicates=False)


def test_compaction_leaves_gaps(new_arena: NewArena) -> None:
    compact = {
        "cleanup.policy": "compact",
        "segment.bytes": "1048576",
        "segment.ms": "300",
        "min.cleanable.dirty.ratio": "0.001",
        "min.compaction.lag.ms": "0",
    }
    arena = new_arena(seed=703, events=compact)
    events = arena.topics["events"]
    for _ in range(4):
        arena.produce(200, Mix(bad=0.0))

        def is_compacted() -> bool:
            arena.produce(5, Mix(bad=0.0))  # closes a segment
            return sum(1 for _ in arena.view.read(events)) < len(arena.load.sent) * 0.7

        wait_until(is_compacted, "the log cleaner")
    victim, _ = arena.start_members(2)
    wait_until(lambda: victim.report.completed > 0 or arena.all_committed(), "work to begin")
    victim.kill()
    arena.settle()
    there = {(record.partition, record.offset) for record in arena.view.read(events)}
    found = arena.outcomes(allow_missing=True)
    assert not found.faults
    arena.load.sent = {place: event for place, event in arena.load.sent.items() if place in there}
    assert not [fault for fault in arena.outcomes().faults if not fault.startswith("unknown")]


def test_partitions_added_while_workers_run(new_arena: NewArena) -> None:
    arena = new_arena(seed=704)
    arena.start_members(2)
    arena.produce(100)
    arena.view.grow(arena.topics["events"], 7)
    wait_until(lambda: len(arena.view.partitions(arena.topics["events"])) == 7, "the new partitions")
    grown = Load(arena.site.bootstrap(), arena.topics["events"])  # a client that knows of them
    grown.sent = arena.load.sent
    arena.load = grown
    arena.produce(200)
    assert len({partition for partition, _ in arena.load.sent}) == 7
    arena.settle()
    arena.check_closed(duplicates=False)


@AT_LEAST_ONCE_ONLY
def test_input_topic_deleted_and_created_again_while_workers_run(new_arena: NewArena) -> None:
    arena = new_arena(seed=705)
    arena.start_members(2)
    arena.produce(200)
    arena.settle()
    done = arena.fleet.completed
    arena.view.delete(arena.topics["events"])
    arena.load = Load(arena.site.bootstrap(), arena.topics["events"])
    arena.create("events")
    arena.produce(100)

    def is_over() -> bool:
        return arena.fleet.completed >= done + 100 or len(arena.fleet.running) < 2

    wait_until(is_over, "the second life to be judged")
    assert [worker.exit_code for worker in arena.fleet.workers] == [None, None]


@pytest.mark.ci
def test_every_shape_of_record_survives_a_killed_worker(new_arena: NewArena) -> None:
    arena = new_arena(seed=706)
    victim, _ = arena.start_members(2)
    arena.fleet.set_guard_stalled(True)
    arena.produce(400, Mix(bad=0.4, garbled=0.1, raising=0.03, keyless=0.2))
    wait_until(lambda: victim.report.in_call > 0, "a call to be under way")
    victim.kill()
    arena.fleet.set_guard_stalled(False)
    arena.settle()
    arena.check_closed(duplicates=True)


@AT_LEAST_ONCE_ONLY
def test_copies_of_records_without_a_key_are_in_order(new_arena: NewArena) -> None:
    arena = new_arena(seed=707)
    (victim,) = arena.start_members(1, delivery={"commit_interval_s": 600})
    arena.produce(200, Mix(keyless=0.5))
    arena.wait_completed(200)
    victim.kill()
    arena.start()
    arena.settle()
    arena.check_closed(duplicates=True)
