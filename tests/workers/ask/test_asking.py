"""The core: a verdict over HTTP is that of Kafka, a failure is no verdict, and a deadline is kept."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
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


class Clock:
    """Seconds that a test counts."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Away:
    """No guard."""

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        raise GuardUnavailableError(f"gone, {len(requests)} requests")


def took(clock: Clock, admission: Admission, tokens: int, seconds: float) -> None:
    with admission.admitted(tokens, 1, clock.now + 99) as seat:
        clock.now += seconds
        seat.engine_s = seconds / 2


def give_up(clock: Clock, admission: Admission, tokens: int, seconds: float) -> None:
    with suppress(TimeoutError), admission.admitted(tokens, 1, clock.now + 99):
        clock.now += seconds
        raise TimeoutError


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    """One that has learned: half a second, and 500 tokens a second beyond it."""
    made = Admission(WatchedGuard(ScriptedGuard(), clock), MOST, MOST, clock)
    took(clock, made, 10, 0.5)
    assert made.predicted_wait_s(9_999) == 0.0  # one alone says nothing of the speed
    took(clock, made, 1_000, 2.5)
    return made


def test_what_would_be_late_is_refused_by_the_wait_that_its_tokens_foretell(clock: Clock, admission: Admission) -> None:
    assert admission.predicted_wait_s(500) == pytest.approx(1.5, abs=0.02)
    with admission.admitted(2_000, 1, clock.now + 9):
        with admission.admitted(1_000, 1, clock.now + 6.6):
            pass
        with pytest.raises(AskRefusedError) as refused, admission.admitted(1_000, 1, clock.now + 6.4):
            pass
        assert (refused.value.code, refused.value.sheds, refused.value.retry_after_s) == ("overloaded", True, 1.0)
        with pytest.raises(AskRefusedError):
            admission.refuse_late(clock.now + 4.4)
        admission.refuse_late(clock.now + 4.6)
    with admission.admitted(10_000, 1, clock.now + 1):  # alone it takes as long as it takes
        pass
    assert (admission.tokens, admission.items) == (0, 0)


def test_a_question_that_was_given_up_is_still_under_way_for_a_while_and_lowers_the_speed(
    clock: Clock, admission: Admission
) -> None:
    give_up(clock, admission, 1_000, 4.0)
    assert admission.predicted_wait_s(0) == pytest.approx(2.5, abs=0.05)  # the guard was away: as fast as before
    clock.now += 9.0
    admission.refuse_late(clock.now)

    admission._guard.last_answer = clock.now + 1.0  # noqa: SLF001
    give_up(clock, admission, 1_000, 4.0)
    assert (admission.tokens, admission.items) == (1_000, 1)
    assert admission.predicted_wait_s(0) == pytest.approx(0.5 + 4.0, abs=0.05)  # 250 a second now
    clock.now += 4.1
    admission.refuse_late(clock.now + 0.1)
    assert (admission.tokens, admission.items) == (0, 0)
    took(clock, admission, 500, 0.5)  # one alone that is faster
    assert admission.predicted_wait_s(500) == pytest.approx(1.0, abs=0.05)


def test_answers_that_were_there_already_say_nothing_of_the_speed(clock: Clock, admission: Admission) -> None:
    with admission.admitted(9_000, 1, clock.now + 99):
        clock.now += 0.001
    assert admission.predicted_wait_s(500) == pytest.approx(1.5, abs=0.02)


def test_p9_what_is_under_way_is_bounded(clock: Clock) -> None:
    admission = Admission(WatchedGuard(ScriptedGuard(), clock), 100, 3, clock)
    with admission.admitted(60, 2, clock.now + 9):
        for tokens, items in ((50, 1), (10, 2)):
            with pytest.raises(AskRefusedError), admission.admitted(tokens, items, clock.now + 9):
                pass
        with admission.admitted(10, 1, clock.now + 9):
            pass


def test_a_guard_that_has_been_away_for_a_while_is_not_asked(clock: Clock) -> None:
    watched = WatchedGuard(Away(), clock)
    admission = Admission(watched, MOST, MOST, clock)
    for seconds in (0.0, 4.0):
        clock.now += seconds
        with pytest.raises(GuardUnavailableError):
            asyncio.run(watched.judge([]))
        with admission.admitted(1, 1, clock.now + 9):
            pass
    clock.now += 2.0
    with pytest.raises(AskRefusedError, match="does not answer"), admission.admitted(1, 1, clock.now + 9):
        pass
