"""Committed offsets that somebody else has moved, deleted or written into, while no worker ran."""

from __future__ import annotations

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


def published_again(arena: Arena, expected: int) -> int:
    """Produce more, run again until so many are done, close the ledger, and count what was published again."""
    arena.produce(100)
    arena.start()
    arena.wait_completed(300 + expected)
    arena.settle()
    return arena.check_closed(duplicates=True, moved_back=True).duplicates


@pytest.mark.ci
def test_committed_offset_moved_back(new_arena: NewArena) -> None:
    arena = stopped_at_the_end(new_arena, 501)
    ends = arena.view.ends()
    arena.view.commit({partition: end // 2 for partition, end in ends.items()})
    passed_twice = sum(end - end // 2 for end in ends.values())
    assert published_again(arena, passed_twice) == passed_twice


@pytest.mark.ci
def test_committed_offset_moved_past_the_end(new_arena: NewArena) -> None:
    arena = stopped_at_the_end(new_arena, 502)
    ends = arena.view.ends()
    arena.view.commit({partition: end + 1000 for partition, end in ends.items()})
    # Nobody can tell which records were meant, so the group's rule for a new group holds: from the start.
    assert published_again(arena, sum(ends.values())) == sum(ends.values())


@pytest.mark.ci
def test_committed_offsets_deleted(new_arena: NewArena) -> None:
    arena = stopped_at_the_end(new_arena, 503)
    arena.view.delete_group()
    assert published_again(arena, 200) == 200


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


@pytest.mark.ci
def test_foreign_bytes_in_offset_metadata(new_arena: NewArena) -> None:
    arena = stopped_at_the_end(new_arena, 505)
    ends = arena.view.ends()
    for partition, metadata in enumerate(FOREIGN):
        arena.view.commit({partition: ends[partition]}, metadata)
    assert published_again(arena, 0) == 0
