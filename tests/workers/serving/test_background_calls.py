"""Background calls of a guard replica and its client: few at a time, refused where many wait, no autoscaling load."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import ray.exceptions

from pipelines.guard import GuardReply
from schemas.errors import GuardCallFailedError, GuardUnavailableError
from tests.workers.guard.test_client import REQUEST, Handle, Response, raising, task_error
from tests.workers.serving.gated_engine import turns
from tests.workers.serving.pretend_engine import PretendEngine, replica_of, request
from workers.guard.client import BACKGROUND_CALLS, GuardClient
from workers.guard.lane import Lane
from workers.serving.backlog_policy import BUSY
from workers.serving.busy_share import BusyShare
from workers.serving.guard_replica import MAX_BACKGROUND_CALLS


class Clock:
    """A clock that the engine moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowEngine(PretendEngine):
    """Each batch takes a second of a clock of its own."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def run(self, prompts: Any) -> Any:
        self._clock.now += 1.0
        return super().run(prompts)


@pytest.mark.parametrize("background", [False, True])
def test_background_work_is_no_load_for_autoscaling(background: bool) -> None:
    clock = Clock()
    replica = replica_of(SlowEngine(clock))
    replica._busy = BusyShare(clock)  # noqa: SLF001 - the replica's clock is not for others to set

    async def main() -> dict[str, float]:
        ask: Callable[..., Any] = replica.judge_background if background else replica.judge
        for number in range(4):
            await ask([request(f"{number}")])
        return await replica.record_autoscaling_stats()

    assert asyncio.run(main()) == {BUSY: 0.0 if background else 1.0}


def test_p9_a_replica_takes_on_so_many_background_calls_and_live_ones_beside_them() -> None:
    replica = replica_of(PretendEngine())

    async def main() -> list[Any]:
        back = [replica.judge_background([request(f"back{n}")]) for n in range(MAX_BACKGROUND_CALLS + 3)]
        live = [replica.judge([request(f"live{n}")]) for n in range(5)]
        first = await asyncio.gather(*back, *live, return_exceptions=True)
        return [*first, await replica.judge_background([request("later")])]

    *answered, later = asyncio.run(main())
    refused = [reply for reply in answered if isinstance(reply, GuardUnavailableError)]

    assert len(refused) == 3
    assert sum(isinstance(reply, GuardReply) for reply in answered) == MAX_BACKGROUND_CALLS + 5
    assert all(isinstance(reply, GuardReply) for reply in answered[-5:])
    assert later.answers[0].text == "about later"


def test_p9_a_background_call_that_is_given_up_frees_its_place() -> None:
    replica = replica_of(PretendEngine())

    async def main() -> None:
        for _ in range(3 * MAX_BACKGROUND_CALLS):
            call = asyncio.create_task(replica.judge_background([request("given up")]))
            await turns(2)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert (await replica.judge_background([request("b")])).answers[0].text == "about b"

    asyncio.run(main())


def background_call(handle: Handle) -> GuardReply:
    return asyncio.run(GuardClient(handle, 5, lane=Lane.BACKGROUND).judge([REQUEST]))


def test_p5_a_refusal_is_unavailable_and_blames_nobody() -> None:
    with pytest.raises(GuardUnavailableError):
        background_call(background(raising(task_error(GuardUnavailableError("16 background calls wait already")))))
    with pytest.raises(GuardCallFailedError):
        background_call(background(raising(task_error(ValueError()))))


def background(handle: Handle) -> Handle:
    """The same handle with the other method."""
    handle.judge_background = handle  # type: ignore[attr-defined]
    handle.judge = None  # type: ignore[assignment]
    return handle


def test_p9_a_client_has_few_background_calls_under_way_and_any_number_of_live_ones() -> None:
    async def main(is_background: bool) -> int:
        under_way = 0
        gate = asyncio.Event()

        async def end() -> GuardReply:
            nonlocal under_way
            under_way += 1
            await gate.wait()
            raise ray.exceptions.RayError("end")

        handle = Handle(Response(end))
        client = GuardClient(
            background(handle) if is_background else handle, 5, lane=Lane.BACKGROUND if is_background else Lane.LIVE
        )
        calls = [asyncio.create_task(client.judge([REQUEST])) for _ in range(40)]
        await turns()
        most = under_way
        gate.set()
        assert all(
            isinstance(end, GuardUnavailableError) for end in await asyncio.gather(*calls, return_exceptions=True)
        )
        return most

    assert asyncio.run(main(True)) == BACKGROUND_CALLS
    assert asyncio.run(main(False)) == 40
