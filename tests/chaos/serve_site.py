"""The application as users run it, on a Ray cluster of its own: real Serve, real replicas, and a scripted engine.

Built by `workers.serving.app` with that one class exchanged. Injects faults by process id; judges nothing.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray import serve

from tests.chaos.arena import Arena
from tests.chaos.ruled_engine import BEGUN, READY, Note, ReplicasAsSet, notes
from tests.chaos.ruled_guard import STALLED
from tests.chaos.site import SHARED
from tests.chaos.waiting import wait_until
from tests.ray_session import serve_session
from workers.serving.app import APP_NAME, GUARD, STREAM, application_of
from workers.settings.loading import load_settings

LOGICAL_CPUS = 8
CONTROLLER = "SERVE_CONTROLLER_ACTOR"
MOST_REPLICAS = 4
ROOT = Path(__file__).parents[2]


class ServeSite:
    """One application over an arena. Use as a context manager, with the `DeployedGuardReplica` of `app` exchanged.

    Args:
        arena: topics, group and load.
        folder: where the engines' notes go.
        consumers: replicas of the stream deployment.
        guards: replicas of the guard deployment.
        scaled: the number of guard replicas may be set later, by `scale`.
        more: settings, as in `weir.yaml`.
    """

    def __init__(
        self,
        arena: Arena,
        folder: Path,
        *,
        consumers: int = 1,
        guards: int = 1,
        scaled: bool = False,
        **more: Mapping[str, Any],
    ) -> None:
        self._folder = folder
        self._wanted = folder / "guard-replicas"
        self._guards = guards
        self._scaled = scaled
        sections = arena.sections(
            SHARED,
            guard={"model": str(folder), "replicas": guards, "cpus_per_replica": 0.5, **more.pop("guard", {})},
            serve={"consumers": consumers, "cpus_per_consumer": 0.5},
            **more,
        )
        self._settings = load_settings(**sections)

    def __enter__(self) -> Self:
        application = application_of(self._settings)
        if self._scaled:
            application = self._scalable(application)
        with ExitStack() as stack:
            stack.enter_context(serve_session(LOGICAL_CPUS))
            stack.callback(self.stall, False)
            serve.run(application, name=APP_NAME, route_prefix=None)
            self._session = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop as `weir run` does."""
        self._session.close()

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def notes(self) -> list[Note]:
        """What the guard replicas have done."""
        return notes(self._folder)

    def replicas(self, deployment: str) -> list[dict[str, Any]]:
        """Running replicas of `GUARD` or `STREAM` as the controller knows them; see Serve's `ReplicaDetails`."""
        details = ray.get(self._controller().get_serve_instance_details.remote())
        replicas = details["applications"][APP_NAME]["deployments"][deployment]["replicas"]
        return [replica for replica in replicas if replica["state"] == "RUNNING" and replica["pid"]]

    def pids(self, deployment: str) -> list[int]:
        """Processes of the running replicas."""
        return [replica["pid"] for replica in self.replicas(deployment)]

    def busy_guards(self) -> list[int]:
        """Guard processes that live and are in the middle of a batch."""
        newest = {note.pid: note for note in self.notes}
        return [pid for pid, note in newest.items() if note.what == BEGUN and _lives(pid)]

    def ready_after(self, at: float) -> Note | None:
        """The first guard replica that was ready after that time."""
        return next((note for note in self.notes if note.what == READY and note.at > at), None)

    # -- doing -----------------------------------------------------------------------------------------------------

    def stall(self, is_stalled: bool) -> None:
        """Let no batch end, until called with False."""
        path = self._folder / STALLED
        path.touch() if is_stalled else path.unlink(missing_ok=True)

    def kill(self, pid: int) -> float:
        """SIGKILL; returns when, in seconds since the epoch."""
        os.kill(pid, signal.SIGKILL)
        at = time.time()
        wait_until(lambda: not _lives(pid), f"the end of {pid}")
        return at

    def kill_controller(self) -> None:
        """End Serve's controller; Ray starts another, which has to find the replicas again."""
        controller = self._controller()
        before = ray.get(controller.get_pid.remote())
        ray.kill(controller, no_restart=False)
        wait_until(lambda: not _lives(before), "the end of Serve's controller")

    def wait_controller(self) -> None:
        """Wait until a controller answers and knows all replicas."""
        wait_until(lambda: bool(self._try_pids()), "Serve's controller to know its replicas again")

    def scale(self, guards: int) -> float:
        """Set the number of guard replicas and wait for it; returns how many seconds it took."""
        self._wanted.write_text(str(guards))
        return wait_until(lambda: len(self.pids(GUARD)) == guards, f"{guards} guard replicas")

    # -- inner -----------------------------------------------------------------------------------------------------

    def _scalable(self, application: Any) -> Any:
        self._wanted.write_text(str(self._guards))
        stream = application._bound_deployment  # noqa: SLF001 - as in tests/workers/serving/test_app.py
        settings, guard = stream.init_args
        policy = {"policy_function": ReplicasAsSet, "policy_kwargs": {"file": str(self._wanted)}}
        scaling = {
            "min_replicas": 0,
            "initial_replicas": self._guards,
            "max_replicas": MOST_REPLICAS,
            "upscale_delay_s": 0.1,
            "downscale_delay_s": 0.1,
            "downscale_to_zero_delay_s": 0.1,
            "policy": policy,
        }
        scaled = guard._bound_deployment.options(num_replicas="auto", autoscaling_config=scaling)  # noqa: SLF001
        return stream.bind(settings, scaled.bind(settings))

    def _try_pids(self) -> list[int]:
        with suppress(ray.exceptions.RayError, KeyError):
            return self.pids(GUARD) and self.pids(STREAM)
        return []

    @staticmethod
    def _controller() -> Any:
        return ray.get_actor(CONTROLLER, namespace="serve")


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
