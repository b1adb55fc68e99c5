"""The shadow lane of a worker: it compares, counts and writes, and live is as without it, whatever happens there."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.guard import GuardRequest
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from schemas.shadow import SHADOW_RECORD, Difference, ShadowDisagreement, ShadowSummary
from schemas.verdict import Action, Severity
from tests.guards.scripted_guard import Gate, ScriptedGuard
from tests.site import Site, event, wait_until
from workers.kafka.producer import producer
from workers.settings.loading import Settings
from workers.shadow import lane as shadow_lane
from workers.shadow.lane import ShadowLane
from workers.shadow.report import shadow_report
from workers.stream.worker import StreamWorker

UNSAFE = "Safety: Unsafe\nCategories: Violent"
SAFE = "Safety: Safe\nCategories: None"
SECRET = "private words of somebody"


def settings_of(site: Site, **shadow: Any) -> Settings:
    return site.settings_with(shadow={"enabled": True, "share": 1.0, "model": "candidate", "timeout_s": 20, **shadow})


def answer(text: str) -> str:
    """A candidate that is stricter for some."""
    return UNSAFE if "7" in text else SAFE


def shadow_records(site: Site) -> tuple[list[ShadowDisagreement], list[ShadowSummary]]:
    records = [SHADOW_RECORD.validate_json(record.value or b"") for record in site.records(3)]
    return (
        [record for record in records if isinstance(record, ShadowDisagreement)],
        [record for record in records if isinstance(record, ShadowSummary)],
    )


def compared(lane: ShadowLane) -> int:
    return lane.totals.agreed + lane.totals.disagreed


def assert_live_is_complete(site: Site, worker: StreamWorker, count: int) -> None:
    assert worker.stop(20.0)
    assert sorted(verdict["event_id"] for verdict in site.verdicts()) == sorted(f"e{i}" for i in range(count))
    assert {verdict["severity"] for verdict in site.verdicts()} == {"Safe"}
    assert site.dead_letters() == []
    assert sum(site.committed().values()) == count


def test_p1_what_differs_is_written_with_both_verdicts_and_what_agrees_is_counted(site: Site) -> None:
    settings = settings_of(site)
    lane = site.start_shadow(settings, ScriptedGuard(answer))
    site.produce([event(f"e{i}", f"{SECRET} {i}") for i in range(40)])
    worker = site.start(ScriptedGuard(), settings, shadow=lane)
    site.wait_for(40)
    wait_until(lambda: compared(lane) == 40, "40 comparisons")
    lane.stop(20.0)
    assert_live_is_complete(site, worker, 40)

    disagreements, (summary,) = shadow_records(site)
    expected = {f"e{i}" for i in range(40) if "7" in str(i)}
    assert {record.event_id for record in disagreements} == expected
    assert len(disagreements) == len(expected)
    for record in disagreements:
        live, candidate = record.live.verdict, record.candidate.verdict
        assert live is not None
        assert candidate is not None
        assert (live.severity, candidate.severity) == (Severity.SAFE, Severity.UNSAFE)
        assert record.differences == (Difference.SEVERITY, Difference.CATEGORIES, Difference.ACTION)
        assert live.source == candidate.source == record.source
        assert live.event_id == candidate.event_id == record.event_id
    assert (summary.agreed, summary.disagreed) == (40 - len(expected), len(expected))
    assert (summary.dropped, summary.unanswered, summary.unpublished) == (0, 0, 0)
    assert (summary.live.model, summary.candidate.model) == (settings.guard.model, "candidate")
    assert sum(pair.count for pair in summary.pairs) == 40
    assert {record.key for record in site.records(3)} == {None, *(name.encode() for name in expected)}


def test_p10_the_shadow_topic_holds_no_message_text(site: Site) -> None:
    settings = settings_of(site)
    unreadable: Callable[[str], str] = lambda _: f"Safety: {SECRET}"  # noqa: E731
    lane = site.start_shadow(settings, ScriptedGuard(unreadable))
    site.produce([event(f"e{i}", f"{SECRET} {i}") for i in range(10)])
    site.start(ScriptedGuard(), settings, shadow=lane)
    wait_until(lambda: compared(lane) == 10, "10 comparisons")
    lane.stop(20.0)

    disagreements, _ = shadow_records(site)
    assert {(record.candidate.verdict, record.candidate.reason) for record in disagreements} == {
        (None, "unparsable_output")
    }
    assert len(disagreements) == 10
    for record in site.records(3):
        assert b"private" not in (record.value or b"") + (record.key or b"")


def test_a_candidate_policy_judges_the_same_answers_and_asks_no_model(site: Site, tmp_path: Path) -> None:
    policy = tmp_path / "strict.yaml"
    policy.write_text("name: strict\nversion: '2'\nactions: {Safe: review}\n", encoding="utf-8")
    settings = settings_of(site, model=None, policy_file=policy)
    lane = site.start_shadow(settings)
    site.produce([event(f"e{i}") for i in range(20)])
    worker = site.start(guard := ScriptedGuard(), settings, shadow=lane)
    wait_until(lambda: compared(lane) == 20, "20 comparisons")
    lane.stop(20.0)
    assert_live_is_complete(site, worker, 20)

    disagreements, (summary,) = shadow_records(site)
    assert sum(map(len, guard.calls)) == 20
    assert {record.differences for record in disagreements} == {(Difference.ACTION,)}
    assert {record.candidate.verdict and record.candidate.verdict.action for record in disagreements} == {Action.REVIEW}
    assert (summary.candidate.policy_name, summary.live.policy_name) == ("strict", "default")
    assert summary.candidate.model == summary.live.model


def script(kind: str) -> Callable[[Sequence[GuardRequest]], Any]:
    async def hang(_: Sequence[GuardRequest]) -> None:
        await asyncio.Event().wait()

    async def fail(_: Sequence[GuardRequest]) -> None:
        raise {"raises": GuardCallFailedError, "dies": GuardCrashError, "is gone": GuardUnavailableError}[kind](kind)

    return hang if kind == "hangs" else fail


@pytest.mark.parametrize("kind", ["hangs", "raises", "dies", "is gone"])
def test_p1_a_candidate_in_trouble_costs_live_nothing_and_its_records_are_counted(site: Site, kind: str) -> None:
    settings = settings_of(site, timeout_s=0.3, queue_records=32)
    lane = site.start_shadow(settings, ScriptedGuard(script=script(kind)))
    site.produce([event(f"e{i}") for i in range(200)])
    worker = site.start(ScriptedGuard(), settings, shadow=lane)
    site.wait_for(200)
    assert_live_is_complete(site, worker, 200)
    wait_until(lambda: lane.counts.done == lane.counts.offered, "the lane to give its records up")
    lane.stop(20.0)

    disagreements, (summary,) = shadow_records(site)
    assert disagreements == []
    assert (summary.agreed, summary.disagreed) == (0, 0)
    assert summary.dropped + summary.unanswered == 200
    assert summary.unanswered >= 32


def test_p1_what_a_stop_finds_in_the_lane_is_counted_in_its_last_summary(site: Site) -> None:
    gate = Gate()

    async def wait(_: Sequence[GuardRequest]) -> None:
        await gate.passed()

    settings = settings_of(site, queue_records=512)
    lane = site.start_shadow(settings, ScriptedGuard(script=wait))
    site.produce([event(f"e{i}") for i in range(400)])
    worker = site.start(ScriptedGuard(), settings, shadow=lane)
    site.wait_for(400)
    assert_live_is_complete(site, worker, 400)
    assert lane.counts.done == 0
    lane.stop(20.0)

    disagreements, (summary,) = shadow_records(site)
    assert disagreements == []
    assert (summary.agreed, summary.disagreed, summary.dropped, summary.unanswered) == (0, 0, 0, 400)
    assert (lane.counts.done, lane.counts.done_bytes) == (lane.counts.offered, lane.counts.offered_bytes)


def test_p9_what_waits_for_the_candidate_is_bounded_in_records_and_bytes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_lane, "QUEUE_BYTES", 2_000)
    gate = Gate()

    async def wait(_: Sequence[GuardRequest]) -> None:
        await gate.passed()

    settings = settings_of(site, queue_records=8)
    lane = site.start_shadow(settings, ScriptedGuard(script=wait))
    site.produce([event(f"e{i}", "word " * (1 if i < 50 else 300)) for i in range(100)])
    worker = site.start(ScriptedGuard(), settings, shadow=lane)
    site.wait_for(100)
    assert lane.counts.offered - lane.counts.done <= 8
    assert lane.counts.offered_bytes - lane.counts.done_bytes <= 2_000
    assert lane.counts.dropped == 100 - lane.counts.offered > 0
    gate.open()
    wait_until(lambda: lane.counts.done == lane.counts.offered, "the rest to be compared")
    assert lane.counts.done_bytes == lane.counts.offered_bytes
    assert_live_is_complete(site, worker, 100)


@pytest.mark.integration
@pytest.mark.slow
def test_p2_a_shadow_topic_that_is_missing_harms_nobody(kafka_site: Site) -> None:
    site = kafka_site
    settings = settings_of(site, summary_interval_s=0.1)
    settings = settings.model_copy(update={"topics": settings.topics.model_copy(update={"shadow": "not.there"})})
    lane = site.start_shadow(settings, ScriptedGuard(answer))
    site.produce([event(f"e{i}") for i in range(100)])
    worker = site.start(ScriptedGuard(), settings, shadow=lane)
    site.wait_for(100)
    assert_live_is_complete(site, worker, 100)
    wait_until(lambda: lane.unpublished > 0, "a record that could not be written")
    assert site.records(3) == []


def test_nothing_of_an_event_outside_of_the_sample_is_looked_at(site: Site) -> None:
    settings = settings_of(site, share=0.25)
    lane = site.start_shadow(settings, candidate := ScriptedGuard(answer))
    site.produce([event(f"e{i}") for i in range(200)])
    worker = site.start(ScriptedGuard(), settings, shadow=lane)
    site.wait_for(200)
    wait_until(lambda: lane.counts.done == lane.counts.offered > 0, "the sample to be compared")
    assert_live_is_complete(site, worker, 200)

    assert sum(map(len, candidate.calls)) == lane.counts.offered
    assert 20 < lane.counts.offered < 80


def test_the_report_adds_up_the_summaries_of_all_workers_and_shows_ids_only(site: Site) -> None:
    settings = settings_of(site, summary_interval_s=0.05)
    lanes = [site.start_shadow(settings, ScriptedGuard(answer)) for _ in range(2)]
    site.produce([event(f"e{i}", f"{SECRET} {i}") for i in range(60)])
    worker = site.start(ScriptedGuard(), settings, shadow=lanes[0])
    site.wait_for(60)
    worker.stop(20.0)
    again = site.settings_with(kafka={"group_id": f"again-{site.suffix}"}, shadow=settings.shadow.model_dump())
    site.start(ScriptedGuard(), again, shadow=lanes[1])
    site.wait_for(120)
    wait_until(lambda: sum(map(compared, lanes)) == 120, "120 comparisons")
    for lane in lanes:
        lane.stop(20.0)
    sender = producer(settings.kafka)
    sender.send(settings.topics.shadow, b"not ours").get(20)
    sender.close()
    expected = 2 * len([i for i in range(60) if "7" in str(i)])
    read: list[tuple[int, int | None]] = []
    found = shadow_report(settings, None, None, 3, lambda done, total: read.append((done, total)))

    (comparison,) = found.comparisons
    assert (comparison.agreed, comparison.disagreed) == (120 - expected, expected)
    assert comparison.agreement == pytest.approx(1 - expected / 120)
    assert comparison.summaries >= 2
    same, stricter = (Severity.SAFE, Severity.SAFE), (Severity.SAFE, Severity.UNSAFE)
    assert comparison.pairs == {same: 120 - expected, stricter: expected}
    assert (found.disagreements, len(found.examples), found.foreign) == (expected, 3, 1)
    assert read[-1][0] == read[-1][1]
    assert "private" not in json.dumps(found.to_dict())
