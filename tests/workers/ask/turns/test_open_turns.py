"""Bounds over all turns of a server: the tenant that has most loses the turn that was asked about longest ago."""

from pipelines.backoff import Backoff
from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import TurnKey
from schemas.turns.frame import DeltaFrame
from tests.guards.turn_judges import LetterJudge
from workers.ask.turns.open_turns import OpenTurns

ASKED = [{"role": "user", "content": "hello?"}]


def begun(turns: OpenTurns, tenant: str, number: int, text: str) -> TurnKey:
    key = TurnKey(tenant, "c", number)
    turn = turns.new(key, 0)
    turn.turn.frames.take(
        DeltaFrame.model_validate({"conversation_id": "c", "turn": number, "seq": 0, "messages": ASKED, "delta": text})
    )
    turns.measure(turn)
    return key


def test_bytes_are_bounded_by_tenant_and_the_newest_stays() -> None:
    asker = TurnAsker(LetterJudge(), lambda: Backoff(0.01, 0.01))
    turns = OpenTurns(asker, TurnRules(), 100, 60.0, most_bytes=100_000)
    quiet = begun(turns, "quiet", 0, "x" * 100)
    loud = [begun(turns, "loud", number, "x" * 6_000) for number in range(6)]
    assert turns.known(quiet) is not None
    assert [key for key in loud if turns.known(key) is not None] == loud[-3:]
    alone = begun(turns, "whale", 0, "x" * 90_000)
    assert turns.known(alone) is not None
    assert len(turns) == 1
