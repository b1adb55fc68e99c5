"""One turn: what is asked, what is said of it, once, and how it ends."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.backoff import Backoff
from pipelines.policy import load_policy
from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import JudgedToken, PushAnswer, TurnKey, TurnPush
from pipelines.turns.turn import Turn
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from schemas.turns.frame import read_frame
from schemas.turns.verdict import StreamVerdict
from tests.guards.turn_judges import NEXT, PROVENANCE, LetterJudge, token

MESSAGES = [{"role": "user", "content": "where?"}]


def turn_of(
    *deltas: str,
    final: bool = True,
    number: int = 0,
    messages: Any = MESSAGES,
    rules: TurnRules | None = None,
    **fields: Any,
) -> Turn:
    """A turn of which these deltas have come."""
    turn = Turn(TurnKey("t", "c", number), rules or TurnRules())
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
            found += [turn.raised_verdict(token) for token in news.raises]
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


CONTROVERSIAL = replace(token(0, "!", raised=True), risk="Controversial")
UNSAFE = token(0, "!", raised=True)
AFTERWARDS = replace(token(0, "a"), raised=True)


def acted(*tokens: JudgedToken, rules: TurnRules | None = None, end: bool = True) -> list[tuple[int | None, Any]]:
    """Index and action of each verdict of an answer that has these tokens."""
    turn = Turn(TurnKey("t", "c", 0), rules or TurnRules())
    add(turn, 0, "a", final=end)
    assert turn.next_push({}) is not None
    news = turn.answered(
        PushAnswer(
            [replace(each, index=index) for index, each in enumerate(tokens)], None if end else "context_overflow"
        ),
        PROVENANCE,
    )
    verdicts = [*(turn.raised_verdict(each) for each in news.raises), turn.end_verdict()]
    assert all((said.policy is None) == (said.action is None) for said in verdicts)
    return [(said.index, said.action) for said in verdicts]


def test_a_verdict_has_the_action_of_the_policy_and_the_last_one_the_strictest_that_was_said() -> None:
    assert acted(UNSAFE, AFTERWARDS) == [(0, "block"), (1, "block")]
    assert acted(CONTROVERSIAL, AFTERWARDS) == [(0, "review"), (1, "review")]
    assert acted(token(0, "a")) == [(0, "allow")]


def test_p3_a_turn_that_was_not_judged_to_its_end_is_never_allowed() -> None:
    assert acted(token(0, "a"), end=False) == [(0, None)]
    assert acted(end=True) == [(None, None)]
    assert acted(CONTROVERSIAL, end=False) == [(0, "review"), (0, "review")]


def test_a_raised_turn_is_raised_again_where_two_tokens_in_a_row_call_for_more() -> None:
    assert acted(CONTROVERSIAL, UNSAFE, AFTERWARDS, UNSAFE) == [(0, "review"), (3, "review")]
    assert acted(CONTROVERSIAL, UNSAFE, UNSAFE, UNSAFE) == [(0, "review"), (2, "block"), (3, "block")]
    assert acted(UNSAFE, CONTROVERSIAL, CONTROVERSIAL) == [(0, "block"), (2, "block")]


def test_tokens_that_are_said_again_are_no_neighbours_of_the_last_one() -> None:
    tokens = [
        replace(each, index=index) for index, each in enumerate((CONTROVERSIAL, AFTERWARDS, UNSAFE, AFTERWARDS, UNSAFE))
    ]
    turn = turn_of("a", final=False)
    raises = []
    for again in (0, 3):
        turn.say_again(again)
        add(turn, turn.frames.next_seq, "b")
        assert turn.next_push({}) is not None
        raises += turn.answered(PushAnswer(tokens, None), PROVENANCE).raises

    assert [each.index for each in raises] == [0]


def test_a_tenants_policy_decides_what_controversial_and_a_category_are(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "{name: p, version: '1', tenants: {t: {controversial: loose, category_actions: {Violent: {Unsafe: review}}}}}"
    )
    rules = TurnRules(policy=load_policy(file))

    assert acted(CONTROVERSIAL, CONTROVERSIAL, rules=rules) == [(0, "allow"), (1, "allow")]
    assert acted(CONTROVERSIAL, UNSAFE, UNSAFE, rules=rules) == [(0, "allow"), (2, "review"), (2, "review")]
    assert acted(replace(UNSAFE, category="Violence of another name"), rules=rules) == [(0, "block"), (0, "block")]


def test_another_policy_gives_other_ids(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("{name: p, version: '1'}")
    ids = [
        [said.verdict_id for said in judged(LetterJudge(), turn_of("a!", rules=rules))]
        for rules in (TurnRules(), TurnRules(), TurnRules(policy=load_policy(file)))
    ]

    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


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
