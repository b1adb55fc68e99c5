"""What replicas that consume have in common: health, the dead-man timer, and a stop that waits for the worker."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from workers.serving.consumers import consumer_replica
from workers.serving.consumers.consumer_replica import ConsumerReplica
from workers.serving.consumers.delta_replica import DeltaReplica
from workers.serving.consumers.stream_replica import StreamReplica
from workers.settings.loading import load_settings


class Worker:
    """A worker that says what a test wants."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.stops: list[float] = []
        self.progress = SimpleNamespace(completed=7)
        self.breaker = SimpleNamespace(reason=None)

    def start(self) -> None: ...

    def stuck_reason(self) -> str | None:
        return self.reason

    def stop(self, timeout_s: float) -> bool:
        self.stops.append(timeout_s)
        return True


class Replica(ConsumerReplica):
    """A replica of such a worker."""

    def __init__(self, worker: Worker, **health: float) -> None:
        settings: Any = load_settings(health=health, delivery={"drain_timeout_s": 2})
        super().__init__(settings, "weir-test")
        self._worker = worker  # type: ignore[assignment]
        self.order: list[str] = []
        self._start()

    async def _stop_beside(self) -> None:
        self.order.append("beside")

    async def stop(self) -> None:
        """What Serve does."""
        await self.__del__()


@pytest.fixture(autouse=True)
def _leaves_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("configure_logging", "tune_process"):
        monkeypatch.setattr(consumer_replica, name, lambda *_: None)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")


def test_p12_a_worker_that_is_stuck_fails_its_health_check_and_says_why() -> None:
    async def steps() -> None:
        worker = Worker()
        replica = Replica(worker)
        await replica.check_health()
        assert await replica.completed() == 7
        worker.reason = "the loop has not turned for 61 s"
        with pytest.raises(RuntimeError, match="61 s"):
            await replica.check_health()
        await replica.stop()
        assert (worker.stops, replica.order) == ([2 + consumer_replica.STOP_MARGIN_S], ["beside"])

    asyncio.run(steps())


def test_p12_a_replica_that_serve_has_lost_stops_by_itself_and_one_that_is_looked_at_does_not() -> None:
    async def steps() -> None:
        lost, kept = Worker(), Worker()
        replicas = [Replica(worker, dead_man_s=0.2) for worker in (lost, kept)]
        deadline = time.monotonic() + 10
        while not lost.stops and time.monotonic() < deadline:
            await replicas[1].check_health()
            await asyncio.sleep(0.02)
        assert (len(lost.stops), kept.stops) == (1, [])
        for replica in replicas:
            await replica.stop()

    asyncio.run(steps())


def test_both_lanes_consumers_are_such_replicas() -> None:
    assert issubclass(StreamReplica, ConsumerReplica)
    assert issubclass(DeltaReplica, ConsumerReplica)
    assert {StreamReplica._watch, DeltaReplica._watch} == {ConsumerReplica._watch}  # noqa: SLF001
