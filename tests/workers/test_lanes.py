"""One judgement, many lanes: live, classify, audit, shadow and evaluation end each record alike."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.evaluation.examples import Label, LabelledExample
from pipelines.evaluation.predicting import Predictor
from pipelines.guard import GuardAnswer
from pipelines.lanes.batch import judge_batch
from pipelines.moderation import Admitted, Outcome
from schemas.dead_letter import DeadLetter
from schemas.event import decode_event
from schemas.reasons import Reason
from schemas.record import SourceRecord
from schemas.verdict import Verdict
from tests.guards.answering_guard import CRASH, AnsweringGuard, judge_without_waits
from tests.pipelines.judged_records import CONTROVERSIAL, SAFE, UNSAFE, answer
from tests.site import Broker, Site, wait_until
from workers.audit.answer_cache import AnswerCache
from workers.audit.block_judge import BlockJudge
from workers.audit.lane import lane_of
from workers.audit.pace import Pace
from workers.guard.lines import judge_lines
from workers.guard.setup import judge_of, length_policy_of, moderation_of
from workers.settings.loading import Settings

LONG = "the quick brown fox jumps over the lazy dog " * 12
SCORES = {"safety": {"Safe": 0.2, "Controversial": 0.3, "Unsafe": 0.5}, "category": {"None": 0.25, "PII": 0.75}}


def scored(safe: float, unsafe: float) -> dict[str, dict[str, float]]:
    return {**SCORES, "safety": {"Safe": safe, "Controversial": 0.0, "Unsafe": unsafe}}


ANSWERS = {
    "harmless": answer(SAFE, scores=SCORES),
    "bad": answer(UNSAFE, scores=scored(0.25, 0.75)),
    "so-so": answer(CONTROVERSIAL),
    "off the grammar": answer("Safety: Fine\nCategories: None"),
    "cut off": answer(SAFE, finished=False),
    "refused by the guard": answer("", error=Reason.CONTEXT_OVERFLOW),
    "a hair over 1": answer(UNSAFE, scores=scored(-0.0005, 1.0005)),
    "well over 1": answer(UNSAFE, scores=scored(-0.01, 1.01)),
    "no number": answer(UNSAFE, scores=scored(float("nan"), 0.5)),
    "scores without a question": answer(SAFE, scores={}),
}
TEXTS = [*ANSWERS, CRASH, LONG, f"{LONG}bad", LONG * 10]


def said(text: str) -> GuardAnswer:
    """What stands in `ANSWERS`, Unsafe for a window that ends with "bad", else Safe."""
    return ANSWERS.get(text) or answer(UNSAFE if text.endswith("bad") else SAFE, scores=SCORES)


def essence(outcome: Outcome | Verdict) -> dict[str, Any]:
    """An outcome without what is its record's place or a clock's."""
    if isinstance(outcome, DeadLetter):
        return {"reason": outcome.reason, "detail": outcome.detail, "attempts": outcome.attempts}
    found: dict[str, Any] = json.loads(outcome.to_bytes())
    del found["verdict_id"], found["source"], found["timing"]
    return found


@pytest.fixture
def site(mock_broker: Broker) -> Iterator[Site]:
    made = Site(mock_broker)
    yield made
    made.close()


@pytest.fixture
def settings(site: Site) -> Settings:
    return site.settings_with(
        length={"max_tokens": 64, "overlap_tokens": 8, "max_windows": 8},
        shadow={"enabled": True, "share": 1.0, "model": "candidate", "timeout_s": 30},
        delivery={"max_attempts": 2, "backoff_initial_s": 0.001, "backoff_max_s": 0.001},
    )


def events() -> list[bytes]:
    """An event for each text, and a line that is none."""
    made = [{"event_id": f"e{number}", "tenant": "t", "text": text} for number, text in enumerate(TEXTS)]
    return [*(json.dumps(event).encode() for event in made), b"{"]


def by_event(outcomes: list[tuple[bytes, dict[str, Any]]]) -> dict[bytes, dict[str, Any]]:
    """Outcomes by the value of their record, each of which has one."""
    found = dict(outcomes)
    assert len(found) == len(outcomes) == len(events())
    return found


def judged_at_once(settings: Settings) -> dict[bytes, dict[str, Any]]:
    records = [SourceRecord("t", 0, number, 0, None, value, ()) for number, value in enumerate(events())]
    judge = judge_of(settings, AnsweringGuard(said))
    rulings = asyncio.run(judge_batch(records, moderation_of(settings), judge))
    return by_event([(record.value or b"", essence(one.outcome)) for record, one in zip(records, rulings, strict=True)])


def test_live_and_shadow_end_each_record_as_a_batch_does(site: Site, settings: Settings) -> None:
    lane = site.start_shadow(settings, AnsweringGuard(said))
    site.produce(list(events()))
    site.start(AnsweringGuard(said), settings, shadow=lane)
    site.wait_for(len(events()))
    expected = judged_at_once(settings)
    judged = len([end for end in expected.values() if end.get("reason") not in ("too_long", "invalid_json")])
    wait_until(lambda: lane.counts.done == judged, "all that were judged to be compared")

    values = {json.loads(value)["event_id"]: value for value in events()[:-1]}
    live = [(values[entry["event_id"]], essence(Verdict.model_validate(entry))) for entry in site.verdicts()]
    live += [(letter.value or b"", essence(letter)) for letter in site.dead_letters()]
    assert by_event(live) == expected
    assert (lane.totals.agreed, lane.totals.disagreed, lane.counts.unanswered) == (judged, 0, 0)


def test_classify_ends_each_line_as_a_batch_does(settings: Settings) -> None:
    async def classified() -> list[str]:
        judge = judge_of(settings, AnsweringGuard(said))
        parts = judge_lines(iter([events()[:5], events()[5:]]), moderation_of(settings), judge)
        return [line.text async for part in parts for line in part]

    found = []
    for value, text in zip(events(), asyncio.run(classified()), strict=True):
        line = json.loads(text)
        if "error" in line:
            found.append((value, {key: line["error"][key] for key in ("reason", "detail")}))
        else:
            found.append((value, essence(Verdict.model_validate(line))))
    expected = judged_at_once(settings)
    for end in expected.values():
        end.pop("attempts", None)
    assert by_event(found) == expected


def test_an_audit_ends_each_row_as_a_batch_does_also_where_it_asks_once_for_two(settings: Settings) -> None:
    guard = AnsweringGuard(said)
    judge = BlockJudge(lane_of(settings, guard, 1, 0.0), AnswerCache(100), Pace(None))
    records = [SourceRecord("t", 0, number, 0, None, value, ()) for number, value in enumerate(events())]
    admitted = [judge.admit(record) for record in records]
    asked = [item for item in admitted if isinstance(item, Admitted)]

    async def outcomes() -> list[Outcome]:
        await judge.begin(None)
        found, spent = await judge.judge([*asked, *asked], 2 * len(asked))
        assert [*map(essence, found[: len(asked)])] == [*map(essence, found[len(asked) :])]
        assert spent.judged < spent.deduplicated
        return found[: len(asked)]

    decided = iter(asyncio.run(outcomes()))
    ends = [item if isinstance(item, DeadLetter) else next(decided) for item in admitted]
    found = by_event([(record.value or b"", essence(end)) for record, end in zip(records, ends, strict=True)])
    assert found == judged_at_once(settings)


def test_an_evaluation_reads_what_a_batch_says(settings: Settings) -> None:
    records = [SourceRecord("t", 0, number, 0, None, value, ()) for number, value in enumerate(events()[:-1])]
    examples = [
        LabelledExample(str(record.offset), "b", decode_event(record, 1 << 20).messages, Label(None))
        for record in records
    ]
    predictor = Predictor(judge_without_waits(AnsweringGuard(said)), length_policy_of(settings.length), 4)

    async def predicted() -> list[Any]:
        return [item async for chunk in predictor.predict(examples) for item in chunk]

    expected = judged_at_once(settings)
    for record, prediction in zip(records, asyncio.run(predicted()), strict=True):
        end, verdict = expected[record.value or b""], prediction.verdict
        assert prediction.failure == end.get("reason")
        if verdict is not None:
            assert (verdict.severity, list(verdict.categories)) == (end["severity"], end["categories"])
            assert verdict.scores == (end["scores"] and end["scores"]["severity"])
