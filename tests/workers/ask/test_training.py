"""The functions that trainers call, against a server on a socket."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.guards.scripted_guard import ScriptedGuard
from tests.workers.ask.ask_site import SAFE, VIOLENT
from tests.workers.ask.test_server import run_with
from workers.ask import training
from workers.ask.lane import AskLane

ASKED = [{"role": "user", "content": "hi"}]


def said(text: str) -> str:
    if text == "off":
        return "I don't know"
    return (VIOLENT if "threat" in text else SAFE) + "\nRefusal: No"


def called(*functions: Callable[..., Any]) -> list[Any]:
    """What each returns, given the server's address."""
    found = []

    async def steps(_: AskLane, port: int) -> None:
        url = f"http://127.0.0.1:{port}"
        found.extend([await asyncio.to_thread(partial(function, url=url)) for function in functions])

    run_with(ScriptedGuard(said), steps)
    return found


def test_each_trainer_s_function_gives_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MOST", 2)
    completions = ["fine", "a threat", "off", [{"role": "assistant", "content": "a threat"}]]
    trl, hybrid, verl, skyrl = called(
        partial(training.trl_reward, ["hi", "hi", ASKED, ASKED], completions, completion_ids=[], trainer_state=None),
        partial(training.trl_reward, ["hi"], ["fine"], kind="hybrid", helpfulness=[2.5]),
        partial(training.compute_score, "s", "a threat", None, {"prompt": ASKED}),
        partial(training.skyrl_step, "hi", "fine"),
    )

    assert trl == [1.0, 0.0, None, 0.0]
    assert hybrid == [2.5]
    assert verl == 0.0
    assert skyrl == {"observations": [], "reward": 1.0, "done": True, "metadata": {}}


def test_p3_those_that_know_numbers_only_are_told_by_an_error() -> None:
    with pytest.raises(RuntimeError, match="could not be judged"):
        called(partial(training.skyrl_step, "hi", "off"))
    with pytest.raises(RuntimeError, match=r"422 .*helpfulness"):
        called(partial(training.trl_reward, ["hi"], ["fine"], kind="hybrid"))


def test_a_server_that_is_not_there_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(training.time, "sleep", waits.append)
    with pytest.raises(RuntimeError, match="no answer after 6 tries"):
        training.rewards_of([{"prompt": "hi", "response": "fine"}], url="http://127.0.0.1:1")

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
