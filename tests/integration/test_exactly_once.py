"""Outcomes and offsets in one transaction, on real Kafka: readers of committed records see each outcome once."""

import asyncio
import random
import signal
from collections.abc import Sequence
from typing import Any

import pytest

from pipelines.guard import GuardRequest
from tests.guards.scripted_guard import ScriptedGuard
from tests.integration.members import QUICK, Load, Member, take_a_moment
from tests.site import Site, event, wait_until
from workers.settings.loading import Settings
from workers.stream.worker import StreamWorker
from workers.tools.verify.verify import verify


def once(site: Site, **sections: dict[str, Any]) -> Settings:
    """Settings for exactly once, and a group that moves quickly."""
    sections["delivery"] = {"mode": "exactly_once", **sections.get("delivery", {})}
    return site.settings_with(kafka=QUICK, **sections)


def test_p1_outcomes_of_both_kinds_and_their_offsets_are_committed_together(wide_site: Site) -> None:
    values: list[bytes | None] = [event(f"e{i}") for i in range(60)]
    wide_site.produce([*values, b"not json", None])
    worker = wide_site.start(ScriptedGuard(), once(wide_site))
    wide_site.wait_for(61)
    wait_until(lambda: worker.progress.completed == 62, "the one with nothing to judge")

    assert worker.stop(20.0)
    assert sum(wide_site.committed().values()) == 62
    ledger = verify(wide_site.settings, once=True)
    assert ledger.is_proven, ledger
    assert (ledger.verdicts, ledger.dead_letters, ledger.skipped) == (60, 1, 1)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_members_that_come_and_go_repeat_nothing(wide_site: Site, seed: int) -> None:
    chance = random.Random(seed)
    settings = once(wide_site, limits={"in_flight_records": 32}, delivery={"chunk_size": 2})
    load = Load(wide_site)
    delay = random.Random(seed + 100)

    async def take_some_time(_: Sequence[GuardRequest]) -> None:
        await asyncio.sleep(delay.random() * 0.05)

    members: list[StreamWorker] = []
    for _ in range(5):
        if len(members) < 2:
            members.append(wide_site.start(ScriptedGuard(script=take_some_time), settings))
        else:
            leaving = members.pop(chance.randrange(len(members)))
            load.more(60)
            assert leaving.stop(20.0)
        newest = members[-1]
        before = newest.progress.completed

        def has_work(newest: StreamWorker = newest, before: int = before) -> bool:
            load.more()
            return newest.progress.completed > before

        wait_until(has_work, "a member to get work")
    load.until_done(settings)

    assert all(member.failure is None for member in members)
    ledger = verify(settings, once=True)
    assert ledger.is_proven, ledger
    assert ledger.verdicts == load.produced


@pytest.mark.slow
def test_after_kills_at_any_moment_committed_readers_see_each_outcome_once(wide_site: Site) -> None:
    load = Load(wide_site)
    settings = once(wide_site)
    load.more(400)
    for killed in range(4):
        member = Member(settings)
        try:
            reached = 40 * (killed + 1)
            wait_until(lambda reached=reached: len(wide_site.records(1)) >= reached, "some outcomes")
            member.signal(signal.SIGKILL)
        finally:
            member.close()
    wide_site.start(ScriptedGuard(), settings)
    load.until_done(settings)

    ledger = verify(settings, once=True)
    assert ledger.is_proven, ledger
    assert ledger.verdicts == 400


@pytest.mark.slow
def test_a_member_that_was_frozen_in_its_work_cannot_commit_over_its_successor(wide_site: Site) -> None:
    load = Load(wide_site)
    settings = once(wide_site, limits={"in_flight_records": 64})
    load.more(300)
    frozen = Member(settings)
    try:
        wait_until(lambda: len(wide_site.records(1)) >= 40, "verdicts of the first member")
        frozen.signal(signal.SIGSTOP)
        other = wide_site.start(ScriptedGuard(script=take_a_moment), settings)
        load.until_done(settings)
        frozen.signal(signal.SIGCONT)
        done = other.progress.completed
        load.more(60)

        def shares_again() -> bool:
            load.more(10)
            return load.produced - other.progress.completed + done > 400

        wait_until(shares_again, "the first one to work again")
        load.until_done(settings)
    finally:
        frozen.close()

    ledger = verify(settings, once=True)
    assert ledger.is_proven, ledger
    assert ledger.verdicts == load.produced
