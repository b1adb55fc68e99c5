"""What each error of a Ray Serve call means (P5, P6): the table of infra/docs/ray.md, and no public error left out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import ray.exceptions
import ray.serve.exceptions

from pipelines.guard import GuardReply, GuardRequest
from schemas.errors import (
    GuardCallFailedError,
    GuardCrashError,
    GuardUnavailableError,
    ModerationError,
)
from schemas.verdict import Provenance
from tests.workers.serving.virtual_time import run_at_once
from workers.guard.client import MOST_AGAIN_S, GuardClient

REQUEST = GuardRequest(({"role": "user", "content": "private words"},), 1, {})
REPLY = GuardReply(
    [], Provenance(model="m", revision="1", prompt_sha256="p", engine="e", dtype="d", parser="1")
)  # fmt: skip
CRASHED = {"ActorDiedError", "ActorUnavailableError", "OutOfMemoryError", "RayActorError", "WorkerCrashedError"}
CALL_FAILED = {"RayTaskError"}
# Everything else that Ray raises says nothing about the requests. A name that is new in a new Ray has to be put here,
# or above, by someone who has read what it means.
UNAVAILABLE = {
    "ActorAlreadyExistsError",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "BackPressureError",
    "CrossLanguageError",
    "DeploymentUnavailableError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayDirectTransportError",
    "RayError",
    "RayServeException",
    "RaySystemError",
    "ReferenceCountingAssertionError",
    "ReplicaUnavailableError",
    "RequestCancelledError",
    "RpcError",
    "RuntimeEnvSetupError",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnserializableException",
    "UserCodeException",
    "gRPCStatusError",
}


class Response:
    """A `DeploymentResponse` of a call that ends as the test says."""

    def __init__(self, end: Callable[[], Awaitable[GuardReply]]) -> None:
        self._end = end
        self.is_cancelled = False

    def __await__(self) -> Any:
        return self._end().__await__()

    def cancel(self) -> None:
        self.is_cancelled = True


class Handle:
    """A `DeploymentHandle` whose method `judge` gives that response."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.judge = self
        self.arguments: list[object] = []

    def remote(self, *arguments: object) -> Response:
        self.arguments += arguments
        return self.response


def raising(error: BaseException) -> Handle:
    async def end() -> GuardReply:
        raise error

    return Handle(Response(end))


def call(handle: Handle, timeout_s: float = 5.0) -> GuardReply:
    return asyncio.run(GuardClient(handle, timeout_s).judge([REQUEST]))


def public_errors() -> dict[str, type[Exception]]:
    roots = (ray.exceptions.RayError, ray.serve.exceptions.RayServeException)
    return {
        name: kind
        for module in (ray.exceptions, ray.serve.exceptions)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, roots)
    }


def bare(kind: type[Exception]) -> Exception:
    """An instance without its constructor: what counts here is the class."""
    return kind.__new__(kind)


def task_error(cause: Exception) -> Exception:
    error = ray.exceptions.RayTaskError("judge", "Traceback: private words", cause, "p", 1, "127.0.0.1")
    return cast("Exception", error.as_instanceof_cause())


def test_p5_p6_every_public_error_of_ray_has_a_meaning() -> None:
    sorted_out = [*CRASHED, *CALL_FAILED, *UNAVAILABLE]

    assert len(sorted_out) == len(set(sorted_out))
    assert set(public_errors()) == set(sorted_out)


@pytest.mark.parametrize("name", sorted(public_errors()))
def test_p5_p6_an_error_of_ray_becomes_ours_by_its_meaning(name: str) -> None:
    meaning: type[ModerationError] = (
        GuardCrashError if name in CRASHED else GuardCallFailedError if name in CALL_FAILED else GuardUnavailableError
    )
    error = task_error(ValueError()) if name in CALL_FAILED else bare(public_errors()[name])

    with pytest.raises(meaning):
        call(raising(error))


@pytest.mark.parametrize(
    "cause", [ValueError(), TimeoutError(), MemoryError(), KeyError("x"), OSError(), RuntimeError(), Exception()]
)
def test_p6_whatever_our_code_raised_in_the_replica_is_a_failed_call_and_never_a_time_out(cause: Exception) -> None:
    with pytest.raises(GuardCallFailedError) as caught:
        call(raising(task_error(cause)))

    assert str(caught.value) == type(cause).__name__


@pytest.mark.parametrize("kind", [GuardUnavailableError, GuardCrashError])
def test_p5_p6_what_a_remote_engine_s_server_ended_with_is_told_as_the_replica_told_it(kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^no server takes it on$"):
        call(raising(task_error(kind("no server takes it on"))))


def turning_away(times: int) -> tuple[Handle, list[float]]:
    """A handle whose replicas turn so many calls away, and when they were made."""
    made_at: list[float] = []

    async def end() -> Any:
        made_at.append(asyncio.get_running_loop().time())
        return None if len(made_at) <= times else REPLY

    return Handle(Response(end)), made_at


def test_p6_a_call_that_a_replica_turns_away_is_made_again() -> None:
    handle, made_at = turning_away(20)

    assert run_at_once(GuardClient(handle, 60.0).judge([REQUEST])) is REPLY
    assert handle.arguments == [[REQUEST]] * 21
    assert 10 * MOST_AGAIN_S / 2 < made_at[-1] < 20 * MOST_AGAIN_S


def test_p5_a_call_that_is_turned_away_for_as_long_as_a_call_may_take_is_unavailable() -> None:
    handle, made_at = turning_away(10_000)

    with pytest.raises(GuardUnavailableError, match="turned away"):
        run_at_once(GuardClient(handle, 60.0).judge([REQUEST]))
    assert 59.0 < made_at[-1] <= 60.0


@pytest.mark.parametrize(
    "error",
    [task_error(ValueError("private words")), ray.serve.exceptions.RayServeException("private words")],
)
def test_p10_no_text_of_a_foreign_error_is_repeated_or_kept(error: Exception) -> None:
    with pytest.raises(ModerationError) as caught:
        call(raising(error))

    assert "private" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_p5_a_call_that_takes_too_long_is_cancelled_at_the_replica_and_counts_as_unavailable() -> None:
    async def hang() -> GuardReply:
        await asyncio.Event().wait()
        return REPLY

    handle = Handle(Response(hang))
    with pytest.raises(GuardUnavailableError, match=r"no answer within 0\.01 s"):
        call(handle, timeout_s=0.01)

    assert handle.response.is_cancelled


def test_a_caller_that_is_cancelled_frees_the_replica_s_slot() -> None:
    started = asyncio.Event()

    async def hang() -> GuardReply:
        started.set()
        await asyncio.Event().wait()
        return REPLY

    handle = Handle(Response(hang))

    async def main() -> None:
        asked = asyncio.create_task(GuardClient(handle, 60).judge([REQUEST]))
        await started.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(main())

    assert handle.response.is_cancelled


def test_a_chunk_travels_in_one_call_and_its_reply_comes_back_as_it_is() -> None:
    async def end() -> GuardReply:
        return REPLY

    handle = Handle(Response(end))

    assert call(handle) is REPLY
    assert handle.arguments == [[REQUEST]]
    assert not handle.response.is_cancelled
