"""The doors with the tiny Stream model behind them: what they say is what the model says of the whole text."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.workers.ask.ask_site import OFF, AskSite
from workers.serving.deltas.sessions import TurnSessions
from workers.serving.engine.stream_guard import StreamGuard

ASKED = [{"role": "user", "content": "can you tell me about the river?"}]
ANSWER = "someone beside the lamp mentioned murkblade today."
FIELDS = ("index", "offset", "role", "risk", "category", "probabilities", "raised")


@pytest.fixture(scope="module")
def guard() -> StreamGuard:
    return StreamGuard.load("demo", device="cpu", dtype="float32")


@pytest.fixture
def site(guard: StreamGuard) -> Iterator[AskSite]:
    sessions = TurnSessions(guard, 16, OFF)
    yield AskSite(turns=sessions)
    sessions.close()


def whole(guard: StreamGuard) -> list[dict[str, Any]]:
    session = guard.open(ASKED)
    [verdicts] = guard.push([(session, ANSWER, True)])
    guard.close(session)
    return [{name: getattr(verdict, name) for name in FIELDS} for verdict in verdicts]


@pytest.mark.parametrize("size", [4, 17, 100])
def test_settled_tokens_are_those_of_the_whole_text(guard: StreamGuard, site: AskSite, size: int) -> None:
    async def steps() -> list[Any]:
        answers = []
        for start in range(0, len(ANSWER), size):
            frame: dict[str, Any] = {"offset": start, "delta": ANSWER[start : start + size]}
            frame |= {"messages": ASKED} if start == 0 else {}
            frame |= {"final": start + size >= len(ANSWER)}
            answers.append((await site.request("/v1/stream/c", frame)).json)
        assert site.door is not None
        site.door.stop()
        return answers

    answers = asyncio.run(steps())
    settled = [token for answer in answers for token in answer["tokens"] if not token["provisional"]]
    assert [{name: token[name] for name in FIELDS} for token in settled] == whole(guard)
    [raised, end] = answers[-1]["verdicts"]
    assert (raised["category"], end["end"], end["raised"]) == ("Violent", "final", True)
    assert ANSWER.index("murkblade") < raised["offset"]
