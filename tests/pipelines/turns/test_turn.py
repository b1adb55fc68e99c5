"""One turn: what is asked, what is said of it, once, and how it ends."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipelines.backoff import Backoff
from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnLimits
from pipelines.turns.port import PushAnswer, TurnKey, TurnPush
from pipelines.turns.turn import Turn
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from schemas.turns.frame import read_frame
from schemas.turns.verdict import StreamVerdict
from tests.guards.turn_judges import NEXT, PROVENANCE, LetterJudge, token

MESSAGES = [{"role": "user", "content": "where?"}]


def turn_of(*deltas: str, final: bool = True, number: int = 0, messages: Any = MESSAGES, **fields: Any) -> Turn:
    """A turn of which these deltas have come."""
    turn = Turn(TurnKey("t", "c", number), TurnLimits())
    for seq, delta in enumerate(deltas):
        add(turn, seq, delta, messages, final=final and seq == len(deltas) - 1, **fields)
    return turn


def add(turn: Turn, seq: int, delta: str, messages: Any = MESSAGES, **fields: Any) -> None:
    first = {"messages": messages} if seq == 0 else {}
    turn.frames.take(read_frame({"conversation_id": "c", "turn": 0, "seq": seq, "delta": delta, **first, **fields}))


async def slept(_: float) -> None:
    await asyncio.sleep(0)


def judged(judge: LetterJudge, turn: Turn) -> list[StreamVerdict]:
    """Raises, and the last verdict where the turn has ended."""

    async def run() -> list[StreamVerdict]:
        asker = TurnAsker(judge, lambda: Backoff(0.001, 0.001), sleep=slept)
        found = []
        while push := turn.next_push({}):
            [answered] = await asker.ask([push])
            news = turn.answered(*answered)
            found += [turn.token_verdict(token, "raised") for token in news.raises]
        return [*found, turn.end_verdict()] if turn.end else found

    return asyncio.run(run())


def test_a_turn_is_raised_once_and_ends_with_its_last_token() -> None:
    raised, last = judged(LetterJudge(), turn_of("ab!", "c!d"))

    assert (raised.index, raised.offset, raised.risk, raised.raised, raised.final) == (2, 3, "Unsafe", True, False)
    assert (last.index, last.risk, last.raised, last.final, last.end) == (5, "Safe", True, True, "final")
    assert raised.verdict_id != last.verdict_id


def test_the_users_turn_before_an_answer_is_raised_with_it() -> None:
    asked = [{"role": "user", "content": "bring!"}]

    verdicts = judged(LetterJudge(), turn_of("ab", messages=asked))

    assert [(verdict.role, verdict.raised) for verdict in verdicts] == [("user", True), ("assistant", False)]


def test_a_users_turn_is_asked_about_when_it_is_whole() -> None:
    judge = LetterJudge()
    turn = turn_of("bring ", "it!", final=False, role="user")

    assert judged(judge, turn) == []
    add(turn, 2, "", role="user", final=True)
    raised, last = judged(judge, turn)

    assert (raised.role, raised.index, last.role, last.raised, last.end) == ("user", 9, "user", True, "final")
    assert judge.calls[0][0].messages == (*MESSAGES, {"role": "user", "content": "bring it!"})


def test_a_turn_that_was_forgotten_in_between_says_the_same() -> None:
    once = judged(LetterJudge(), turn_of("a!b", "!c"))
    judge = LetterJudge()
    turn = turn_of("a!b", final=False)
    verdicts = judged(judge, turn)
    judge.forget()
    add(turn, 1, "!c", final=True)

    assert [verdict.to_bytes() for verdict in verdicts + judged(judge, turn)] == [v.to_bytes() for v in once]
    assert (turn.pushes, turn.replays) == (3, 1)


def test_p7_a_turn_that_another_model_goes_on_with_is_judged_by_it_from_the_start() -> None:
    judge, turn = LetterJudge(), turn_of("ab!", final=False)
    [before] = judged(judge, turn)
    judge.roll_out()
    add(turn, 1, "c", final=True)
    after = judged(judge, turn)
    alone = LetterJudge()
    alone.roll_out()

    assert (before.index, before.provenance) == (2, PROVENANCE)
    assert [verdict.to_bytes() for verdict in after] == [v.to_bytes() for v in judged(alone, turn_of("ab!", "c"))]
    assert {verdict.provenance for verdict in after} == {NEXT}
    assert turn.replays == 1


def test_what_another_model_says_in_the_middle_is_not_taken() -> None:
    turn = turn_of("a!", final=False)
    assert turn.next_push({}) is not None
    turn.answered(PushAnswer([token(0, "a")], None), PROVENANCE)
    add(turn, 1, "b")
    assert turn.next_push({}) is not None
    news = turn.answered(PushAnswer([token(1, "!", raised=True)], None), NEXT)
    again = turn.next_push({})

    assert (news.is_begun_again, news.tokens, news.raises) == (True, (), ())
    assert again is not None
    assert (again.text, again.said, again.messages is not None) == ("a!b", 0, True)


def test_a_token_that_a_guard_says_again_is_not_said_again() -> None:
    turn = turn_of("a!", final=False)
    said = []
    for _ in range(2):
        assert turn.next_push({}) is not None
        news = turn.answered(PushAnswer([token(0, "a"), token(1, "!", raised=True)], None), PROVENANCE)
        said.append(([each.index for each in news.tokens], [each.index for each in news.raises]))
        add(turn, turn.frames.next_seq, "b")

    assert said == [([0, 1], [1]), ([], [])]


def test_a_provisional_token_is_shown_and_raises_nothing() -> None:
    turn = turn_of("a!", final=False)
    assert turn.next_push({}) is not None
    shown = replace(token(1, "!", raised=True), provisional=True)

    news = turn.answered(PushAnswer([token(0, "a"), shown], None), PROVENANCE)

    assert ([said.index for said in news.tokens], list(news.raises)) == ([0, 1], [])
    assert (
        turn.token_verdict(shown, "token").verdict_id
        != turn.token_verdict(token(1, "!", raised=True), "token").verdict_id
    )


def test_an_answer_without_text_ends_without_a_token() -> None:
    [last] = judged(LetterJudge(), turn_of(""))

    assert (last.index, last.risk, last.raised, last.end) == (None, None, False, "final")


def test_a_turn_of_which_nothing_came_but_its_end_is_given_up() -> None:
    turn = turn_of()
    add(turn, 4, "late")
    turn.frames.close("idle")

    assert turn.next_push({}) is None
    assert turn.given_up()
    assert (turn.end_verdict().end, turn.end_verdict().risk) == ("gap", None)


def test_a_turn_that_is_idle_is_judged_as_far_as_it_is_known_and_marked() -> None:
    judge, turn = LetterJudge(), turn_of("ab", final=False)
    judged(judge, turn)
    turn.frames.close("idle")

    [last] = judged(judge, turn)

    assert (last.index, last.final, last.end) == (1, True, "idle")


def test_what_the_guard_refuses_ends_the_turn_with_that_reason() -> None:
    turn = turn_of("ab")
    assert turn.next_push({}) is not None

    assert turn.answered(PushAnswer((), "context_overflow"), PROVENANCE).end == "context_overflow"
    assert turn.frames.take(read_frame({"conversation_id": "c", "turn": 0, "seq": 9})) == "ignored"


@pytest.mark.parametrize(
    ("error", "end"), [(GuardCrashError, "replica_crash"), (GuardCallFailedError, "inference_failed")]
)
def test_p6_the_push_that_breaks_its_call_is_found_and_its_neighbours_are_judged(
    error: type[Exception], end: str
) -> None:
    def breaks(pushes: Sequence[TurnPush]) -> None:
        if any(push.key.turn == 2 for push in pushes):
            raise error("told")

    async def run() -> list[str | None]:
        asker = TurnAsker(LetterJudge(breaks), lambda: Backoff(0.001, 0.001), sleep=slept)
        turns = [turn_of("ab", number=number) for number in range(5)]
        while asked := [(turn, push) for turn in turns if (push := turn.next_push({}))]:
            for (turn, _), answered in zip(asked, await asker.ask([push for _, push in asked]), strict=True):
                turn.answered(*answered)
        return [turn.end for turn in turns]

    assert asyncio.run(run()) == ["final", "final", end, "final", "final"]


def test_p5_a_guard_that_is_down_is_waited_for() -> None:
    failures = iter([GuardUnavailableError(), GuardUnavailableError(), GuardCrashError()])

    def down(_: Sequence[TurnPush]) -> None:
        if (error := next(failures, None)) is not None:
            raise error

    [last] = judged(LetterJudge(down), turn_of("ab"))

    assert last.end == "final"
