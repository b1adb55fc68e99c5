"""Members of one group that come, go, die and are expelled under load, on real Kafka: the ledger closes each time."""

import asyncio
import json
import random
import signal
import threading
import time
from collections.abc import Sequence

import pytest

from pipelines.guard import GuardRequest
from tests.guards.scripted_guard import Gate, ScriptedGuard, text_of
from tests.integration.members import QUICK, Load, Member, take_a_moment
from tests.site import Site, event, wait_until
from workers.stream.worker import StreamWorker


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_p1_p8_members_that_join_and_leave_under_load_lose_and_repeat_nothing(wide_site: Site, seed: int) -> None:
    chance = random.Random(seed)
    settings = wide_site.settings_with(kafka=QUICK, limits={"in_flight_records": 32}, delivery={"chunk_size": 2})
    load = Load(wide_site)
    delay = random.Random(seed + 100)

    async def take_some_time(_: Sequence[GuardRequest]) -> None:
        await asyncio.sleep(delay.random() * 0.05)  # so that answers come out of order

    members: list[StreamWorker] = []
    for _ in range(8):
        if len(members) < 2 and (not members or chance.random() < 0.7):
            members.append(wide_site.start(ScriptedGuard(script=take_some_time), settings))
        else:
            leaving = members.pop(chance.randrange(len(members)))
            load.more(60)
            assert leaving.stop(20.0)
        for member in members:
            before = member.progress.completed

            def has_work(member: StreamWorker = member, before: int = before) -> bool:
                load.more()
                return member.progress.completed > before + chance.randrange(20)

            wait_until(has_work, "a member to get work")
    if not members:
        members.append(wide_site.start(ScriptedGuard(script=take_some_time), settings))
    ledger = load.until_done(settings)

    assert all(member.failure is None for member in members)
    assert ledger.is_proven, ledger
    assert (ledger.verdicts, ledger.duplicates) == (load.produced, 0)


def test_p1_p7_after_a_member_was_killed_the_next_closes_the_ledger_with_equal_copies(wide_site: Site) -> None:
    load = Load(wide_site)
    load.more(300)
    # It commits so rarely that what it has published will be judged and published again.
    member = Member(wide_site.settings_with(kafka=QUICK, delivery={"commit_interval_s": 600}))
    try:
        wait_until(lambda: len(wide_site.records(1)) >= 60, "verdicts of the first member")
        member.signal(signal.SIGKILL)
        assert wide_site.committed() == {}
        wide_site.start(ScriptedGuard(), wide_site.settings_with(kafka=QUICK))
        ledger = load.until_done(wide_site.settings)
    finally:
        member.close()

    assert ledger.is_proven, ledger
    assert ledger.verdicts == 300
    assert ledger.duplicates >= 60
    copies: dict[str, set[str]] = {}
    ids: dict[str, set[str]] = {}
    for verdict in wide_site.verdicts():
        source = json.dumps(verdict["source"])
        del verdict["timing"]
        ids.setdefault(source, set()).add(verdict["verdict_id"])
        copies.setdefault(source, set()).add(json.dumps(verdict))
    assert {len(found) for found in copies.values()} == {1}
    assert {len(found) for found in ids.values()} == {1}


def test_p1_p7_a_member_that_was_frozen_and_wakes_up_harms_nothing_and_works_again(wide_site: Site) -> None:
    settings = wide_site.settings_with(
        kafka=QUICK, limits={"in_flight_records": 32}, delivery={"commit_interval_s": 0.5}
    )
    load = Load(wide_site)
    load.more(300)
    member = Member(settings)
    try:
        wait_until(lambda: len(wide_site.records(1)) >= 40, "verdicts of the first member")
        member.signal(signal.SIGSTOP)
        other = wide_site.start(ScriptedGuard(script=take_a_moment), settings)
        wait_until(lambda: other.progress.completed > 50, "the other one to take over")
        committed = load.until_done(settings).inputs
        member.signal(signal.SIGCONT)

        def shares_again() -> bool:
            load.more()
            return load.produced - committed - other.progress.completed > 200

        wait_until(shares_again, "the first one to work again")
        ledger = load.until_done(settings)
    finally:
        member.close()

    assert other.failure is None
    assert ledger.is_proven, ledger
    assert ledger.verdicts == load.produced


def test_p2_an_expelled_member_publishes_and_commits_nothing_of_what_it_lost(
    wide_site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    guard_gate, loop_gate = Gate(), threading.Event()

    async def hold(_: Sequence[GuardRequest]) -> None:
        await guard_gate.passed()

    kafka = QUICK | {"max_poll_interval_ms": 3000, "session_timeout_ms": 2000}
    settings = wide_site.settings_with(kafka=kafka, delivery={"drain_timeout_s": 1})
    load = Load(wide_site)
    load.more(60)
    guard = ScriptedGuard(script=hold)
    expelled = wide_site.start(guard, settings)
    wait_until(lambda: guard.in_call == 60, "all to be in flight")
    beat = expelled.progress.beat
    monkeypatch.setattr(expelled.progress, "beat", lambda: (beat(), loop_gate.wait(60)))  # it stops polling

    other = wide_site.start(ScriptedGuard(), settings)
    wait_until(lambda: other.progress.completed == 60, "the other one to take over")
    assert load.until_done(settings).is_proven
    assert "partitions_lost" not in caplog.text
    guard_gate.open()  # its answers wait for it
    wait_until(lambda: guard.in_call == 0, "the answers of the expelled one")
    loop_gate.set()
    wait_until(lambda: "partitions_lost" in caplog.text, "the expelled one to notice")

    def shares_again() -> bool:
        load.more()
        return expelled.progress.completed > 20

    wait_until(shares_again, "the expelled one to work again")
    ledger = load.until_done(settings)
    assert expelled.failure is None
    assert ledger.is_proven, ledger
    assert (ledger.verdicts, ledger.duplicates) == (load.produced, 0)
    assert "is assigned to multiple consumers" not in caplog.text, "it claimed what it had lost"
    assert expelled.stop(20.0)


def test_p1_a_stop_drains_once_and_commits_what_was_acknowledged_meanwhile(wide_site: Site) -> None:
    gate = Gate()

    async def hold_some(requests: Sequence[GuardRequest]) -> None:
        if any(text_of(request) == "stuck" for request in requests):
            await gate.passed()

    settings = wide_site.settings_with(delivery={"drain_timeout_s": 2, "chunk_size": 1, "commit_interval_s": 600})
    wide_site.produce([event(f"e{i}", "stuck" if i == 50 else "hello") for i in range(60)])
    worker = wide_site.start(ScriptedGuard(script=hold_some), settings)
    wait_until(lambda: worker.progress.completed > 40, "most to be completed")
    started = time.monotonic()
    assert worker.stop(20.0)
    assert time.monotonic() - started < 3.5, "it drained again when it left the group"
    gate.open()
    stuck = next(record for record in wide_site.records(0) if b"stuck" in (record.value or b""))
    behind = [r for r in wide_site.records(0) if r.partition == stuck.partition and r.offset >= stuck.offset]
    assert sum(wide_site.committed().values()) == 60 - len(behind)
