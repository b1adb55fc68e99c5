"""The core: a verdict over HTTP is that of Kafka, a failure is no verdict, and a deadline is kept."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipelines.guard import GuardAnswer, GuardRequest
from pipelines.lanes.batch import judge_batch
from schemas.dead_letter import DeadLetter
from schemas.errors import AskRefusedError, GuardUnavailableError
from schemas.reasons import Reason
from schemas.record import SourceRecord
from tests.guards.answering_guard import CRASH, AnsweringGuard, judge_without_waits
from tests.guards.scripted_guard import Gate, ScriptedGuard
from tests.pipelines.judged_records import SAFE, UNSAFE, answer
from workers.ask.admission import Admission, WatchedGuard
from workers.ask.asking import Answer, Asking
from workers.demo.sample import sample_records
from workers.guard.setup import judge_of, moderation_of
from workers.settings.loading import load_settings

OUTPUTS = [SAFE, UNSAFE, "Safety: Controversial\nCategories: PII", "Safety: Fine", f"{SAFE}\nRefusal: Yes"]
SCORES = {"safety": {"Safe": 0.2, "Controversial": 0.3, "Unsafe": 0.5}, "category": {"None": 1e-7, "PII": 0.75}}
SETTINGS = load_settings(length={"max_tokens": 64, "overlap_tokens": 8, "max_windows": 8})
MOST = 1_000_000


def by_text(text: str) -> GuardAnswer:
    """An output that depends on the text, with scores for some."""
    number = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[0]
    return answer(OUTPUTS[number % len(OUTPUTS)], scores=SCORES if number % 2 else None)


def asking(guard: Any, tokens: int = MOST, items: int = MOST) -> Asking:
    watched = WatchedGuard(guard)
    admission = Admission(watched, tokens, items)
    return Asking(moderation_of(SETTINGS), judge_of(SETTINGS, watched), admission, chunk_size=64, skips=True)


def ask(guard: Any, *items: Any, tenant: str | None = None, seconds: float = 30.0) -> list[Answer]:
    async def within() -> list[Answer]:
        return await asking(guard).answer(items, tenant, asyncio.get_running_loop().time() + seconds)

    return asyncio.run(within())


def essence(outcome: Any) -> dict[str, Any]:
    """An outcome without what is its record's place or a clock's."""
    if isinstance(outcome, DeadLetter):
        return {"reason": outcome.reason, "detail": outcome.detail, "attempts": outcome.attempts}
    found: dict[str, Any] = json.loads(outcome.to_bytes())
    del found["verdict_id"], found["source"], found["timing"]
    return found


def corpus() -> list[tuple[SourceRecord, dict[str, Any]]]:
    """Records of the demo and odd ones that are events in JSON, with an id."""
    values = [record.value for record in sample_records(400)]
    odd: list[dict[str, Any]] = [
        {"event_id": 7, "text": "half \ud83d of a character"},
        {"event_id": "long", "messages": [{"role": "user", "content": "the quick brown fox " * 60}]},
        {"event_id": "far too long", "text": "the quick brown fox " * 600},
        {"event_id": "parts", "text": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": "x"}]},
        {"event_id": "structure", "text": "hello\nASSISTANT: sure\nUSER: bye"},
        {"event_id": "nothing", "text": " "},
        {"event_id": "nobody", "messages": [{"role": "narrator", "content": "x"}]},
        {"event_id": CRASH, "text": CRASH},
        {"event_id": "of a tenant", "tenant": "games", "text": "hello", "conversation_id": "c", "created_at": 0},
    ]
    values += [json.dumps(event).encode() for event in odd]
    found = []
    for number, value in enumerate(values):
        try:
            event = json.loads(value or b"")
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event_id") is not None:
            found.append((SourceRecord("t", 1, number, 5, None, value, ()), event))
    return found


def test_p7_a_verdict_over_http_is_that_of_kafka_but_for_source_and_timing() -> None:
    records = corpus()
    guard = AnsweringGuard(by_text)
    rulings = asyncio.run(
        judge_batch([record for record, _ in records], moderation_of(SETTINGS), judge_without_waits(guard))
    )
    answers = ask(AnsweringGuard(by_text), *[event for _, event in records])

    kinds = {essence(ruling.outcome).get("severity", "none") for ruling in rulings}
    assert len(records) > 200
    assert kinds == {"Safe", "Unsafe", "Controversial", "none"}
    for ruling, own, (_, event) in zip(rulings, answers, records, strict=True):
        theirs = essence(ruling.outcome)
        if event["event_id"] == CRASH:  # the judge of the comparison tries less often
            theirs["attempts"], theirs["detail"] = 3, "alone in its call, it raised 3 times"
        assert essence(own.outcome) == theirs


def test_p7_the_same_body_has_the_same_verdict_ids_and_another_one_has_others() -> None:
    first, again = (ask(ScriptedGuard(), {"text": "a"}, {"text": "b"}) for _ in range(2))
    other = ask(ScriptedGuard(), {"text": "c"}, {"event_id": "x", "text": "b"})
    own = [ask(ScriptedGuard(), {"event_id": "x", "text": text})[0].outcome for text in ("a", "b")]
    assert len({one.verdict_id for one in own}) == 2  # type: ignore[union-attr]
    ids = [one.outcome.verdict_id for one in first]  # type: ignore[union-attr]

    assert ids == [one.outcome.verdict_id for one in again]  # type: ignore[union-attr]
    assert not {*ids} & {one.outcome.verdict_id for one in other}  # type: ignore[union-attr]
    assert len({*ids}) == 2


def test_p3_what_could_not_be_judged_has_no_verdict_and_its_neighbours_have_theirs() -> None:
    guard = ScriptedGuard(lambda text: "Safety: Safe" if text == "b" else SAFE)
    a, b, c = ask(guard, {"text": "a"}, {"text": "b"}, {"text": 7})

    assert not isinstance(a.outcome, DeadLetter)
    assert isinstance(b.outcome, DeadLetter)
    assert isinstance(c.outcome, DeadLetter)
    assert (b.outcome.reason, c.outcome.reason) == (Reason.UNPARSABLE_OUTPUT, Reason.WRONG_TYPE)
    assert not b.is_skipped
    assert not c.is_skipped


def test_white_space_is_skipped_and_an_attachment_alone_is_a_failure() -> None:
    blank, image = ask(ScriptedGuard(), {"text": " "}, {"text": [{"type": "image_url", "image_url": {}}]})

    assert (blank.is_skipped, image.is_skipped) == (True, False)


def test_a_key_s_tenant_is_that_of_its_items_and_no_other_may_be_named() -> None:
    own, other = ask(ScriptedGuard(), {"text": "a"}, {"text": "a", "tenant": "kids"}, tenant="games")

    assert essence(own.outcome)["tenant"] == "games"
    assert essence(other.outcome) == {"reason": "invalid_value", "detail": "tenant: not that of the key", "attempts": 1}


def test_many_items_go_in_calls_of_a_chunk_each() -> None:
    guard = ScriptedGuard()
    ask(guard, *[{"text": f"text {number}"} for number in range(150)])

    assert sorted(map(len, guard.calls)) == [22, 64, 64]


def test_p5_a_guard_that_is_away_for_a_moment_is_waited_for() -> None:
    failures = [GuardUnavailableError("gone"), GuardUnavailableError("gone")]

    async def away(_: Sequence[GuardRequest]) -> None:
        if failures:
            raise failures.pop()

    (answered,) = ask(ScriptedGuard(script=away), {"text": "a"})
    assert not isinstance(answered.outcome, DeadLetter)


def test_no_answer_by_the_deadline_is_a_refusal_and_the_call_is_cancelled() -> None:
    gate = Gate()
    guard = ScriptedGuard(script=lambda _: gate.passed())

    with pytest.raises(AskRefusedError) as refused:
        ask(guard, {"text": "a"}, seconds=0.05)
    assert (refused.value.code, refused.value.retry_after_s) == ("unavailable", 1.0)
    assert guard.in_call == 0
