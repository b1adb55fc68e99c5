"""Guards that are down, stalled or broken by a text, and collectors that do not answer; the model is scripted."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import AT_LEAST_ONCE_ONLY, NewArena
from tests.chaos.load import PLAIN, Mix
from tests.chaos.waiting import wait_until

DOWN_S = 10.0
LIMIT = 200


@pytest.mark.ci
def test_guard_down_for_long_consumes_no_attempt_and_kills_no_letter(new_arena: NewArena) -> None:
    arena = new_arena(seed=401)
    workers = arena.start_members(2, health={"progress_timeout_s": 5})
    arena.fleet.set_guard_down(True)
    arena.produce(200, PLAIN)
    wait_until(lambda: min(worker.report.in_flight for worker in workers) > 0, "work to be in flight")
    since = arena.timeline.samples[-1].at
    wait_until(lambda: arena.timeline.samples[-1].at > since + DOWN_S, "the guard to be down for long")
    assert [worker.report.stuck for worker in workers] == [None, None]
    found = arena.outcomes(allow_missing=True)
    assert (found.verdicts, found.letters) == (0, 0)
    arena.fleet.set_guard_down(False)
    arena.settle()
    assert arena.check_closed(duplicates=False).letters == 0


def test_guard_that_comes_and_goes(new_arena: NewArena) -> None:
    arena = new_arena(seed=402)
    arena.start_members(2)
    for _ in range(4):
        arena.fleet.set_guard_down(True)
        arena.produce(100, PLAIN)
        wait_until(lambda: any(worker.report.in_flight for worker in arena.fleet.running), "work to wait")
        arena.fleet.set_guard_down(False)
        before = arena.fleet.completed
        wait_until(lambda: arena.fleet.completed > before, "work to go on")  # noqa: B023
    arena.settle()
    assert arena.check_closed(duplicates=False).letters == 0


@pytest.mark.ci
def test_poison_that_raises_in_its_batch_harms_only_itself(new_arena: NewArena) -> None:
    arena = new_arena(seed=403)
    arena.start_members(2)
    arena.produce(300, Mix(raising=0.05))
    arena.settle()
    found = arena.check_closed(duplicates=False)
    assert found.letters > 15


@AT_LEAST_ONCE_ONLY
def test_stalled_guard_bounds_what_is_in_memory(new_arena: NewArena) -> None:
    arena = new_arena(seed=404)
    arena.produce(3000, Mix(words=400, slow_ms=0))
    arena.fleet.set_guard_stalled(True)
    limits = {"limits": {"in_flight_records": LIMIT}, "kafka": {"fetch_max_bytes": 262_144}}
    worker = arena.start(**limits)
    wait_until(lambda: worker.report.is_full, "the limit to hold intake back")
    full = worker.report
    since = arena.timeline.samples[-1].at
    wait_until(lambda: arena.timeline.samples[-1].at > since + 8, "time to pass")
    seen = [sample.instances[worker.name].report for sample in arena.timeline.since(since)]
    assert max(report.in_flight for report in seen) <= LIMIT
    assert max(report.resident_kb for report in seen) < full.resident_kb + 20_000
    assert arena.view.members()[1], "it fell out of the group"
    arena.fleet.set_guard_stalled(False)
    arena.settle()
    arena.check_closed(duplicates=False)


@AT_LEAST_ONCE_ONLY
def test_collector_that_is_down_or_never_answers_blocks_nothing(new_arena: NewArena) -> None:
    arena = new_arena(seed=405)
    refuses = "http://127.0.0.1:9"
    silent = f"http://{arena.site.add_silent_port()}"
    common = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    workers = [
        arena.fleet.start(arena.sections(), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **common)
        for endpoint in (refuses, silent)
    ]
    arena.wait_owned_by(*workers)
    arena.produce(1000, Mix(slow_ms=0))
    arena.settle()
    assert min(worker.report.completed for worker in workers) > 0
    assert arena.stop_all() == [0, 0]
    arena.check_closed(duplicates=False)
