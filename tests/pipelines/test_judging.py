"""Retry and isolation: a guard that is down costs no attempt (P5), a poisonous record harms only itself (P6)."""

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.backoff import Backoff
from pipelines.guard import GuardAnswer, GuardReply, GuardRequest, Judged
from pipelines.isolation import PROBE
from pipelines.judging import Judge
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError, ItemError
from schemas.reasons import Reason
from schemas.verdict import Provenance

PROVENANCE = Provenance(model="m", revision="1", prompt_sha256="p", engine="e", dtype="d", parser="1")
MAX_ATTEMPTS, MAX_CRASHES = 3, 2


class _EnoughError(Exception):
    """Ends a hold that would go on for ever."""


def request(text: str) -> GuardRequest:
    return GuardRequest(({"role": "user", "content": text},), 1, {})


def text_of(asked: GuardRequest) -> str:
    return asked.conversation[-1]["content"]


def answer(text: str) -> GuardAnswer:
    return GuardAnswer(f"answer to {text}", None, None, 1, 1, True, {}, 0.0, 0.0)


class Guard:
    """Answers each text by its content, after `check` let the call pass; keeps every call."""

    def __init__(self, check: Callable[[list[str]], None] = lambda _: None) -> None:
        self.check = check
        self.calls: list[list[str]] = []

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        texts = [text_of(asked) for asked in requests]
        self.calls.append(texts)
        self.check(texts)
        return GuardReply([answer(text) for text in texts], PROVENANCE)


class Sleeps:
    """Takes no time; raises after `limit` waits."""

    def __init__(self, limit: int = 10_000) -> None:
        self.limit = limit
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) >= self.limit:
            raise _EnoughError


def judge_of(guard: Guard, sleeps: Sleeps | None = None, held: Callable[[], None] = lambda: None) -> Judge:
    return Judge(
        guard,
        max_attempts=MAX_ATTEMPTS,
        max_crashes=MAX_CRASHES,
        new_backoff=partial(Backoff, 0.1, 1.0, random.Random(1)),
        held=held,
        sleep=sleeps or Sleeps(),
    )


def run(guard: Guard, texts: Sequence[str], sleeps: Sleeps | None = None) -> list[Judged]:
    return asyncio.run(judge_of(guard, sleeps).judge([request(text) for text in texts]))


def fail_on(poison: set[str], error: type[Exception]) -> Callable[[list[str]], None]:
    def check(texts: list[str]) -> None:
        if poison.intersection(texts):
            raise error("broken")

    return check


def outcome(judged: Judged) -> str | Reason:
    """The answer's text, or the reason of the error."""
    return judged.result.reason if isinstance(judged.result, ItemError) else judged.result.text


@pytest.mark.parametrize("size", [1, 2, 64])
def test_p5_an_unavailable_guard_consumes_no_attempt_and_yields_no_error(size: int) -> None:
    texts = [f"t{index}" for index in range(size)]
    left = [9]

    def down_nine_times(_: list[str]) -> None:
        if left[0]:
            left[0] -= 1
            raise GuardUnavailableError

    guard, sleeps = Guard(down_nine_times), Sleeps()
    judged = run(guard, texts, sleeps)

    assert [outcome(item) for item in judged] == [f"answer to {text}" for text in texts]
    assert {item.attempts for item in judged} == {1}
    assert guard.calls == [texts] * 10
    assert len(sleeps.waits) == 9


def test_p5_waits_for_an_unavailable_guard_grow_and_stay_below_the_longest() -> None:
    sleeps = Sleeps(12)
    with pytest.raises(_EnoughError):
        run(Guard(fail_on({"a"}, GuardUnavailableError)), ["a"], sleeps)

    ceilings = [min(1.0, 0.1 * 2**index) for index in range(12)]
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(sleeps.waits, ceilings, strict=True))


def test_p5_the_worker_hears_of_each_hold() -> None:
    heard: list[None] = []
    judge = judge_of(Guard(fail_on({"a"}, GuardUnavailableError)), Sleeps(5), lambda: heard.append(None))
    with pytest.raises(_EnoughError):
        asyncio.run(judge.judge([request("a")]))

    assert len(heard) == 5


@pytest.mark.parametrize(
    ("error", "reason", "attempts"),
    [
        (GuardCallFailedError, Reason.INFERENCE_FAILED, MAX_ATTEMPTS),
        (GuardCrashError, Reason.REPLICA_CRASH, MAX_CRASHES),
    ],
)
@pytest.mark.parametrize("place", [0, 31, 63])
def test_p6_one_poison_among_64_is_isolated_and_63_get_their_own_answers(
    error: type[Exception], reason: Reason, attempts: int, place: int
) -> None:
    texts = [f"t{index}" for index in range(64)]
    guard = Guard(fail_on({texts[place]}, error))
    judged = run(guard, texts)

    expected: list[str | Reason] = [f"answer to {text}" for text in texts]
    expected[place] = reason
    assert [outcome(item) for item in judged] == expected
    assert judged[place].attempts == attempts
    assert judged[place].provenance == PROVENANCE
    assert {item.attempts for index, item in enumerate(judged) if index != place} == {1}


@given(
    size=st.integers(1, 40),
    poison=st.sets(st.integers(0, 39)),
    crashing=st.sets(st.integers(0, 39)),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_p6_any_set_of_poison_is_blamed_exactly_and_every_answer_keeps_its_place(
    size: int, poison: set[int], crashing: set[int]
) -> None:
    def check(texts: list[str]) -> None:
        fail_on({f"t{index}" for index in crashing}, GuardCrashError)(texts)
        fail_on({f"t{index}" for index in poison}, GuardCallFailedError)(texts)

    judged = run(Guard(check), [f"t{index}" for index in range(size)])

    assert [outcome(item) for item in judged] == [
        Reason.REPLICA_CRASH
        if index in crashing
        else Reason.INFERENCE_FAILED
        if index in poison
        else f"answer to t{index}"
        for index in range(size)
    ]


def test_p6_a_call_that_raised_is_split_and_not_repeated_whole() -> None:
    guard = Guard(fail_on({"t3"}, GuardCallFailedError))
    run(guard, [f"t{index}" for index in range(8)])

    assert [len(call) for call in guard.calls if len(call) > 1] == [8, 4, 2, 2, 4]


def test_p6_poison_kills_as_many_replicas_as_it_takes_to_find_and_convict_it() -> None:
    guard = Guard(fail_on({"t20"}, GuardCrashError))
    judged = run(guard, [f"t{index}" for index in range(64)])

    assert [index for index, item in enumerate(judged) if outcome(item) is Reason.REPLICA_CRASH] == [20]
    # The chunk's tries, one for each halving, and alone the first one, which counts for nothing, and those that count.
    assert sum("t20" in call for call in guard.calls) == MAX_CRASHES + 5 + 1 + MAX_CRASHES


def test_p6_a_replica_that_dies_under_good_records_costs_them_nothing() -> None:
    deaths = [MAX_CRASHES - 1]

    def die_once(_: list[str]) -> None:
        if deaths[0]:
            deaths[0] -= 1
            raise GuardCrashError

    judged = run(Guard(die_once), ["a", "b", "c"])

    assert [outcome(item) for item in judged] == ["answer to a", "answer to b", "answer to c"]


@pytest.mark.parametrize("error", [GuardCallFailedError, GuardCrashError])
@pytest.mark.parametrize("size", [1, 5])
def test_p5_where_everything_is_broken_the_probe_fails_too_and_nothing_is_blamed(
    error: type[Exception], size: int
) -> None:
    def broken(_: list[str]) -> None:
        raise error

    heard: list[None] = []
    guard, sleeps = Guard(broken), Sleeps(200)
    judge = judge_of(guard, sleeps, lambda: heard.append(None))
    with pytest.raises(_EnoughError):
        asyncio.run(judge.judge([request(f"t{index}") for index in range(size)]))

    assert guard.calls.count(["hello"]) > 150
    assert len(heard) > 150, "a broken guard is what holds: the worker must hear of it"


def test_p5_a_guard_that_recovers_from_being_broken_answers_the_record_it_held() -> None:
    left = [50]

    def broken_for_a_while(_: list[str]) -> None:
        if left[0]:
            left[0] -= 1
            raise GuardCallFailedError

    (judged,) = run(Guard(broken_for_a_while), ["a"])

    assert outcome(judged) == "answer to a"
    assert judged.attempts == 1


def test_p6_failures_beside_a_passing_probe_count_as_attempts() -> None:
    left = [MAX_ATTEMPTS - 1]

    def fail_twice(texts: list[str]) -> None:
        if texts == ["a"] and left[0]:
            left[0] -= 1
            raise GuardCallFailedError

    guard = Guard(fail_twice)
    (judged,) = run(guard, ["a"])

    assert outcome(judged) == "answer to a"
    assert judged.attempts == MAX_ATTEMPTS
    assert guard.calls == [["a"], [text_of(PROBE)], ["a"], [text_of(PROBE)], ["a"]]


class Miscounting(Guard):
    """Loses or invents answers in calls of more than one request."""

    def __init__(self, surplus: int, *, also_alone: bool = False) -> None:
        super().__init__()
        self.surplus = surplus
        self.also_alone = also_alone

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        reply = await super().judge(requests)
        if len(requests) == 1 and (not self.also_alone or requests[0] == PROBE):
            return reply
        padded = [*reply.answers, answer("nobody")]
        return GuardReply(padded[: len(requests) + self.surplus], PROVENANCE)


@pytest.mark.parametrize("surplus", [-1, 1])
def test_p6_no_answer_of_a_reply_of_the_wrong_length_is_used(surplus: int) -> None:
    texts = ["a", "b", "c", "d", "e"]
    guard = Miscounting(surplus)
    judged = run(guard, texts)

    assert [outcome(item) for item in judged] == [f"answer to {text}" for text in texts]
    assert [call for call in guard.calls if len(call) == 1] == [[text] for text in texts]


@pytest.mark.parametrize("surplus", [-1, 1])
def test_p6_a_record_that_never_gets_one_answer_alone_is_an_item_error(surplus: int) -> None:
    (judged,) = run(Miscounting(surplus, also_alone=True), ["a"])

    assert outcome(judged) is Reason.INFERENCE_FAILED


def test_an_empty_chunk_asks_nothing() -> None:
    guard = Guard()

    assert run(guard, []) == []
    assert guard.calls == []


def test_p10_an_item_error_does_not_repeat_the_text() -> None:
    (judged,) = run(Guard(fail_on({"secret text"}, GuardCallFailedError)), ["secret text"])

    assert isinstance(judged.result, ItemError)
    assert "secret" not in judged.result.detail
