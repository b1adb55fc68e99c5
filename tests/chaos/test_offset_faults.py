"""Committed offsets that somebody else has moved, deleted or written into, while no worker ran."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.arena import Arena
from tests.chaos.conftest import NewArena

# One for each partition; the broker stores up to 4096 bytes.
FOREIGN = ["not ours", "AAAA" * 1024, "b64:\x00\x7f,,==", '{"completed": [1, 2, 3], "ü": "' + "ü" * 500]


def stopped_at_the_end(new_arena: NewArena, seed: int) -> Arena:
    """All judged, committed and published; nobody runs."""
    arena = new_arena(seed=seed)
    arena.produce(200)
    arena.start()
    arena.settle()
    assert arena.stop_all() == [0]
    return arena


def assert_published_again(arena: Arena, passed_twice: Callable[[int, int], bool]) -> None:
    """Produce more, run again until all is done, close the ledger: again is published what `passed_twice` says."""
    again = [event for place, event in arena.load.sent.items() if passed_twice(*place)]
    arena.produce(100)
    arena.start()
    arena.wait_completed(300 + len(again))
    arena.settle()
    found = arena.check_closed(duplicates=True, moved_back=True)
    assert found.duplicates == sum(not event.is_skipped for event in again)


def test_committed_offset_moved_back(new_arena: NewArena) -> None:
    arena = stopped_at_the_end(new_arena, 501)
    ends = arena.view.ends()
    arena.view.commit({partition: end // 2 for partition, end in ends.items()})
    assert_published_again(arena, lambda partition, offset: offset >= ends[partition] // 2)


@pytest.mark.ci
def test_committed_offset_moved_past_the_end(new_arena: NewArena) -> None:
    arena = stopped_at_the_end(new_arena, 502)
    arena.view.commit({partition: end + 1000 for partition, end in arena.view.ends().items()})
    # Nobody can tell which records were meant, so the group's rule for a new group holds: from the start.
    assert_published_again(arena, lambda *_: True)


def test_committed_offsets_deleted(new_arena: NewArena) -> None:
    arena = stopped_at_the_end(new_arena, 503)
    arena.view.delete_group()
    assert_published_again(arena, lambda *_: True)


def test_committed_offset_overtaken_by_retention(new_arena: NewArena) -> None:
    arena = stopped_at_the_end(new_arena, 504)
    ends = arena.view.ends()
    arena.produce(200)
    gone = {partition: (ends[partition] + end) // 2 for partition, end in arena.view.ends().items()}
    arena.view.delete_records(gone)
    lost = [place for place in arena.load.sent if ends[place[0]] <= place[1] < gone[place[0]]]
    for place in lost:
        del arena.load.sent[place]
    arena.start()
    arena.settle()
    found = arena.outcomes()
    assert len(lost) > 50
    assert not found.faults
    assert (found.inputs, found.duplicates) == (400 - len(lost), 0)


def test_foreign_bytes_in_offset_metadata(new_arena: NewArena) -> None:
    arena = stopped_at_the_end(new_arena, 505)
    ends = arena.view.ends()
    for partition, metadata in enumerate(FOREIGN):
        arena.view.commit({partition: ends[partition]}, metadata)
    assert_published_again(arena, lambda *_: False)
