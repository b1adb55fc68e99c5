"""The two ends of the measured way, joined by a handle that is none: all is judged, and each says what it has used."""

import asyncio
import pickle
import queue
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from pipelines.guard import GuardReply, GuardRequest
from tests.site import Broker, Site
from workers.bench.host import guard_replicas, way, worker_replica
from workers.bench.host.guard_replicas import HostGuard
from workers.bench.host.worker_replica import HostWorker
from workers.bench.stream.bare_loop import BareRun
from workers.bench.stream.workload import produce_events
from workers.kafka.consumer import Consumer
from workers.serving import guard_replica
from workers.stream.decisions import Decisions, GuardCalls

EVENTS = 60
TIMED = ((Consumer, "poll"), (Decisions, "admit"), (Decisions, "decide"), (GuardCalls, "ask"))


class Method:
    """As a Serve handle's: what goes in and what comes out is pickled."""

    def __init__(self, method: Callable[[Sequence[GuardRequest]], Awaitable[GuardReply]]) -> None:
        self._method = method

    def remote(self, requests: Sequence[GuardRequest]) -> "asyncio.Task[GuardReply]":
        return asyncio.ensure_future(self._answered(pickle.dumps(requests)))

    async def _answered(self, requests: bytes) -> GuardReply:
        reply: GuardReply = pickle.loads(pickle.dumps(await self._method(pickle.loads(requests))))
        return reply


class Handle:
    """Stands in for a Serve handle."""

    def __init__(self, guard: HostGuard) -> None:
        self.judge = Method(guard.judge)


@pytest.fixture
def mock_site(mock_broker: Broker) -> Iterator[Site]:
    made = Site(mock_broker)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a replica does to its process is not done to this one, or is undone."""
    for owner, method in TIMED:
        monkeypatch.setattr(owner, method, getattr(owner, method))
    for module, name in (
        (worker_replica, "tune_process"),
        (worker_replica, "configure_logging"),
        (guard_replicas, "keep_collections_short"),
        (guard_replica, "configure_logging"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)


def test_all_events_are_judged_and_each_end_tells_its_parts(mock_site: Site) -> None:
    settings, names = mock_site.settings, mock_site.names[:3]
    sections: dict[str, Any] = settings.model_dump(mode="python", include={"kafka", "delivery"})
    guard = HostGuard(settings, ranks=300)
    texts = asyncio.run(guard.texts(EVENTS))
    assert len(texts) == EVENTS
    produce_events(settings, names[0], EVENTS, share=0, texts=texts)
    before = asyncio.run(guard.used())
    worker = HostWorker(settings, {"weir": Handle(guard)})

    run = asyncio.run(worker.run("weir", sections, names, EVENTS))
    used = asyncio.run(guard.used()).since(before)
    guard.close()

    verdicts = mock_site.verdicts()
    assert {verdict["event_id"] for verdict in verdicts} == {f"event-{index}" for index in range(EVENTS)}
    assert {verdict["provenance"]["engine"] for verdict in verdicts} == {"instant"}
    assert run.messages_per_s >= 0  # none, if all are done when it looks for the first time
    assert run.calls >= EVENTS / settings.delivery.chunk_size
    assert all(run.used.seconds[part] > 0 for part in ("client", "decode", "release", "handle", "parse", "publish"))
    assert used.seconds["prepare"] > 0
    assert used.process == run.used.process

    runs: queue.SimpleQueue[BareRun] = queue.SimpleQueue()
    way._run_bare(sections, names, EVENTS, runs)  # type: ignore[arg-type]  # noqa: SLF001 - runs in a process of its own
    bare = runs.get()
    assert 0 <= bare.records <= EVENTS
    copied = mock_site.records(1)[-1].value or b""
    assert len(mock_site.records(1)) == 2 * EVENTS
    assert len(copied) == pytest.approx(len(mock_site.records(1)[0].value or b""), rel=0.2)
