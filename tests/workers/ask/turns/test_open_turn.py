"""What one turn keeps and says: provisional tokens beside settled ones, and what was acknowledged."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from pipelines.backoff import Backoff
from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import PushAnswer, PushReply, TurnKey, TurnPush
from schemas.turns.frame import DeltaFrame
from tests.guards.turn_judges import PROVENANCE, LetterJudge, token
from workers.ask.turns.open_turn import OpenTurn

KEY = TurnKey("t", "c", 0)
ASKED = ({"role": "user", "content": "hello"},)


class Hesitant(LetterJudge):
    """Settles nothing but the last letter of a text that is final."""

    async def push(self, pushes: Sequence[TurnPush]) -> PushReply:
        [push] = pushes
        last = token(0, push.text[-1], raised=push.text[-1] == "!")
        return PushReply([PushAnswer([replace(last, provisional=not push.final)], None)], PROVENANCE)


def turn_of(judge: LetterJudge) -> OpenTurn:
    return OpenTurn(KEY, TurnRules(), TurnAsker(judge, lambda: Backoff(0.01, 0.01)), 0)


async def taken(turn: OpenTurn, seq: int, delta: str, *, final: bool = False) -> None:
    messages = ASKED if seq == 0 else None
    fields = {"conversation_id": "c", "turn": 0, "seq": seq, "delta": delta, "final": final, "messages": messages}
    turn.turn.frames.take(DeltaFrame.model_validate(fields))
    turn.go_on({})
    await turn.judged(seq)


def test_what_is_provisional_is_said_as_such_and_raises_nothing_yet() -> None:
    async def steps() -> None:
        turn = turn_of(Hesitant())
        await taken(turn, 0, "a!")
        before = turn.answer(None)
        assert (before["raised"], before["raised_so_far"], before["verdicts"], before["after"]) == (False, True, [], 0)
        assert [one["provisional"] for one in before["tokens"]] == [True]
        await taken(turn, 1, "!", final=True)
        after = turn.answer(None)
        assert (after["raised"], after["raised_so_far"], after["end"]) == (True, False, "final")
        assert [one["provisional"] for one in after["tokens"]] == [False]

    asyncio.run(steps())


def test_what_was_acknowledged_is_judged_again_for_whoever_has_lost_it() -> None:
    async def steps() -> None:
        turn = turn_of(LetterJudge())
        await taken(turn, 0, "a" * 3_000)
        assert len(turn.answer(None)["tokens"]) == 3_001
        turn.acknowledge(2_990)
        assert len(turn.answer(None)["tokens"]) == 11
        assert turn.is_kept(2_990)
        assert not turn.is_kept(7)
        await turn.say_again(7)
        turn.go_on({})
        await turn.judged(0)
        assert (turn.said, turn.is_kept(7)) == (3_001, True)
        assert [one["index"] for one in turn.answer(7)["tokens"]] == list(range(6, 3_000))

    asyncio.run(steps())
