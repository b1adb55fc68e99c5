"""Offered load: everything is sent in time whatever is answered, and latency counts from when it was due."""

import asyncio
import statistics
from collections.abc import Sequence
from itertools import pairwise

import pytest

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from schemas.reasons import Reason
from schemas.verdict import Provenance
from tests.workers.serving.virtual_time import run_at_once
from workers.bench.serving.load_report import Measured, compare_answers, figures_of
from workers.bench.serving.open_load import OfferedMessage, chat_messages, offer, poisson_arrivals, saturate

PROVENANCE = Provenance(model="m", revision="1", prompt_sha256="p", engine="e", dtype="d", parser="1")


def answer_to(text: str, error: Reason | None = None, *, tokens: int = 1) -> GuardAnswer:
    return GuardAnswer(text, error, None, tokens, 1, True, {}, 0.0, 0.0)


class OneAtATime:
    """Takes a second for each message, one after the other, and echoes it."""

    def __init__(self, errors: Sequence[Exception] = ()) -> None:
        self.errors = list(errors)
        self.came: list[float] = []
        self.lock = asyncio.Lock()

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        self.came.append(asyncio.get_running_loop().time())
        async with self.lock:
            await asyncio.sleep(1.0)
            if self.errors:
                raise self.errors.pop()
            return GuardReply([answer_to(text_of(request)) for request in requests], PROVENANCE)


def text_of(request: GuardRequest) -> str:
    return request.conversation[-1]["content"]


def fate(
    due_s: float = 0.0, latency_ms: float = 1.0, text: str | None = "a", *, timed_out: bool = False
) -> OfferedMessage:
    return OfferedMessage(due_s, 0.0, latency_ms, None if text is None else answer_to(text), timed_out)


def test_a_slow_guard_is_charged_for_all_that_came_meanwhile() -> None:
    guard = OneAtATime()
    fates = run_at_once(offer(guard, chat_messages(4, "a"), [0.5, 0.6, 0.7, 8.0], 60.0))

    assert guard.came == pytest.approx([0.5, 0.6, 0.7, 8.0])
    assert [fate.latency_ms for fate in fates] == pytest.approx([1000, 1900, 2800, 1000])
    assert [fate.late_ms for fate in fates] == pytest.approx([0, 0, 0, 0])


def test_each_message_gets_its_own_answer() -> None:
    due_s = poisson_arrivals(3, 9, "seed")
    messages = chat_messages(len(due_s), "a")
    fates = run_at_once(offer(OneAtATime(), messages, due_s, 600.0))

    assert [fate.answer.text for fate in fates if fate.answer] == [text_of(message) for message in messages]


def test_a_time_out_counts_from_when_the_message_was_due() -> None:
    fates = run_at_once(offer(OneAtATime(), chat_messages(3, "a"), [0.0, 0.1, 0.2], 1.95))

    assert [(fate.timed_out, fate.answer is None) for fate in fates] == [(False, False), (False, False), (True, True)]
    assert fates[2].latency_ms == pytest.approx(1950)


@pytest.mark.parametrize("error", [GuardCallFailedError("x"), GuardCrashError("x"), GuardUnavailableError("x")])
def test_a_call_that_fails_is_an_error_of_that_message_alone(error: Exception) -> None:
    fates = run_at_once(offer(OneAtATime([error]), chat_messages(2, "a"), [0.0, 0.0], 60.0))

    assert [(fate.timed_out, fate.answer is None) for fate in fates] == [(False, True), (False, False)]


def test_who_sends_late_says_so() -> None:
    async def after_a_pause() -> list[OfferedMessage]:
        loop = asyncio.get_running_loop()
        work = asyncio.ensure_future(offer(OneAtATime(), chat_messages(2, "a"), [0.0, 1.0], 60.0))
        await asyncio.sleep(0.5)
        loop._skipping.now = 3.0  # type: ignore[attr-defined]  # noqa: SLF001 - the whole process stood still
        return await work

    fates = run_at_once(after_a_pause())
    assert [fate.late_ms for fate in fates] == pytest.approx([0, 2000])
    assert fates[1].latency_ms == pytest.approx(3000)


def test_the_capacity_is_what_is_answered_when_there_are_always_calls() -> None:
    guard = OneAtATime()

    assert run_at_once(saturate(guard, 9.5, at_once=3)) == pytest.approx(1.0)
    assert len(guard.came) == 12


def test_arrivals_are_random_and_the_same_for_the_same_seed() -> None:
    times = poisson_arrivals(50, 200, "seed")
    gaps = [after - before for before, after in pairwise(times)]

    assert times == poisson_arrivals(50, 200, "seed") != poisson_arrivals(50, 200, "other")
    assert times == sorted(times)
    assert times[-1] < 200
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.05)  # as Poisson has it
    assert len(poisson_arrivals(0.001, 0.5, "seed")) == 1  # a run without a message would have no figures


def test_no_two_messages_are_alike() -> None:
    texts = [text_of(message) for label in ("a", "b") for message in chat_messages(500, label)]

    assert len(set(texts)) == 1000


def test_the_figures_are_those_of_the_fates_and_batches() -> None:
    fates = [fate(0.0, 100), fate(1.0, 200), fate(2.0, 300), fate(3.0, 5000, None, timed_out=True), fate(3.5, 9, None)]
    refused = OfferedMessage(3.6, 7.0, 1.0, answer_to("", Reason.CONTEXT_OVERFLOW), timed_out=False)
    figures = figures_of([Measured(2.0, "weir", "a", [*fates, refused], [1, 2])], seconds=4.0)

    assert (figures.sent, figures.answered, figures.errors, figures.timeouts) == (6, 3, 2, 1)
    assert (figures.batches, figures.mean_batch, figures.largest_batch) == (2, 1.5, 2)
    assert figures.offered == pytest.approx(1.5)
    assert figures.done == pytest.approx(3 / 2.3)
    assert figures.p50_ms == pytest.approx(250)
    assert 4000 < figures.p99_ms <= 5000
    assert 6 < figures.late_p99_ms <= 7


def test_several_runs_are_taken_together() -> None:
    runs = [Measured(2.0, "weir", label, [fate(0.0, 500), fate(1.0, 500)], [2]) for label in ("a", "b")]
    figures = figures_of(runs, seconds=2.0)

    assert (figures.sent, figures.batches, figures.offered) == (4, 2, 1.0)
    assert figures.done == pytest.approx(4 / 3)


def test_nothing_answered_is_no_division_by_zero() -> None:
    figures = figures_of([Measured(2.0, "weir", "a", [fate(0.0, 9.0, None, timed_out=True)], [])], seconds=1.0)

    assert (figures.done, figures.mean_batch, figures.p99_ms) == (0.0, 0.0, 9.0)


def test_answers_are_compared_message_by_message() -> None:
    weir = [fate(text="a"), fate(text="b"), fate(text="c"), fate(text=None)]
    other = [fate(text="a"), fate(text="x"), fate(text=None), fate(text="d")]

    assert compare_answers([weir, other]) == (1, 2)
    assert compare_answers([weir]) == (0, 0)


def test_answers_to_each_others_messages_are_found_even_where_texts_are_equal() -> None:
    first, second = (OfferedMessage(0.0, 0.0, 1.0, answer_to("a", tokens=tokens), timed_out=False) for tokens in (7, 9))

    assert compare_answers([[first, second], [second, first]]) == (2, 2)
