"""Output topics that are missing, lose their place, or take only small records."""

from __future__ import annotations

import pytest

from schemas.reasons import Reason
from tests.chaos.conftest import NewArena
from tests.chaos.load import Event, Mix
from tests.chaos.waiting import wait_until


@pytest.mark.parametrize("role", ["verdicts", "dlq"])
def test_output_topic_missing_holds_all_and_comes_back(new_arena: NewArena, role: str) -> None:
    arena = new_arena(seed=601, missing=(role,))
    arena.start_members(2)
    arena.produce(200, Mix(bad=0.3))
    wait_until(lambda: any("publish_held" in w.log.read_text() for w in arena.fleet.running), "a publisher to hold")
    committed, ends = arena.view.committed(), arena.view.ends()
    held = [
        place
        for place, event in arena.load.sent.items()
        if (event.expected is None if role == "verdicts" else event.is_refused)
        and place[1] < committed.get(place[0], 0)
    ]
    assert not held, "committed without an outcome"
    assert sum(committed.values()) < sum(ends.values())
    assert [worker.report.stuck for worker in arena.fleet.running] == [None, None]
    arena.create(role)
    arena.settle()
    arena.check_closed(duplicates=True)


@pytest.mark.ci
def test_verdict_topic_deleted_and_created_again_under_way(new_arena: NewArena) -> None:
    arena = new_arena(seed=602)
    arena.start_members(2)
    arena.produce(100)
    arena.settle()
    for place in list(arena.load.sent):
        del arena.load.sent[place]  # their verdicts are deleted, and not by us
    arena.view.delete(arena.topics["verdicts"])
    first = arena.view.ends()
    arena.produce(200)
    wait_until(lambda: min(worker.report.in_flight for worker in arena.fleet.running) > 0, "both to hold their work")
    since = arena.timeline.samples[-1].at
    wait_until(lambda: arena.timeline.samples[-1].at > since + 5, "the topic to be gone for a while")
    assert [worker.report.stuck for worker in arena.fleet.running] == [None, None]
    arena.create("verdicts")
    arena.settle()
    found = arena.outcomes()
    assert not [fault for fault in found.faults if not _is_about_earlier(fault, first)]
    assert (found.inputs, found.verdicts + found.letters + found.skipped) == (200, 200)


def _is_about_earlier(fault: str, first: dict[int, int]) -> bool:
    return fault.startswith("unknown") and any(
        f"({partition}, {offset})" in fault for partition, end in first.items() for offset in range(end)
    )


def test_outcomes_too_large_for_their_topics_while_a_worker_is_killed(new_arena: NewArena) -> None:
    arena = new_arena(seed=603, verdicts={"max.message.bytes": "1600"}, dlq={"max.message.bytes": "3000"})
    wide = b'{"event_id": "%s", "conversation_id": "%s", "tenant": "%s", "text": "hello"}' % (
        b"w" * 256,
        b"c" * 256,
        b"t" * 256,
    )
    large = b'{"event_id": "' + b"x" * 9000
    for _ in range(4):
        arena.produce(40)
        arena.load.produce([Event(b"wide", wide, [], Reason.VERDICT_TOO_LARGE)])
        arena.load.produce([Event(b"large", large, [], Reason.INVALID_JSON)])
    victim, _ = arena.start_members(2)
    wait_until(lambda: victim.report.completed > 0 or arena.all_committed(), "the victim to publish")
    victim.kill()
    arena.produce(40)
    arena.settle()
    arena.check_closed(duplicates=True)
