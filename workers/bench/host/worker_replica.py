"""Stream workers of the product in a Serve replica, each with Serve's handle of a guard.

Loads no model library, as a worker's process does not. Does not start Serve.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipelines.guard import GuardReply, GuardRequest
from schemas.errors import ModerationError
from workers.bench.host.cpu_parts import CpuParts, Used
from workers.bench.stream.workload import bench_settings
from workers.guard.client import GuardClient
from workers.kafka.consumer import Consumer
from workers.serving.process_tuning import tune_process
from workers.settings.loading import Settings
from workers.stream.build import stream_worker
from workers.stream.decisions import Decisions, GuardCalls
from workers.telemetry.export import start_tracing
from workers.telemetry.log import configure_logging

POLL_S = 0.05
DEADLINE_S = 600.0
STOP_S = 30.0
_NOT_TRACED = {"OTEL_SDK_DISABLED": "true"}


class WorkerRun(NamedTuple):
    """What a stream worker's process used for all events of a topic, how many a second it completed, and its calls."""

    messages_per_s: float
    calls: int
    used: Used


class _CountingClient(GuardClient):
    calls = 0

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        self.calls += 1
        return await super().judge(requests)


class HostWorker:
    """Runs stream workers in a Serve replica, each with Serve's handle of a guard.

    Args:
        settings: all settings.
        guards: Serve handles of the sides, by name.
    """

    def __init__(self, settings: Settings, guards: dict[str, Any]) -> None:
        configure_logging(settings.telemetry.log_level)
        tune_process()
        self._guards = guards
        threads = {"weir-stream": "release", "weir-publisher": "publish", "kafka-io": "client"}
        self._cpu = CpuParts(threads, rest="handle")
        for owner, method, part in (
            (Consumer, "poll", "client"),
            (Decisions, "admit", "decode"),
            (GuardCalls, "ask", "handle"),
            (Decisions, "decide", "parse"),
        ):
            self._cpu.time_calls(owner, method, part)

    async def run(self, side: str, sections: dict[str, Any], names: list[str], events: int) -> WorkerRun:
        """Have all events of a topic judged by one worker of a group of its own.

        Args:
            side: whose guard judges.
            sections: of the settings.
            names: topics of events, verdicts and dead letters.
            events: of the event topic.

        Raises:
            ModerationError: the worker failed, or was not done in time.
        """
        settings = bench_settings(sections, names)
        loop = asyncio.get_running_loop()
        tracing = start_tracing(settings.telemetry, "weir-stream", _NOT_TRACED)
        guard = _CountingClient(self._guards[side], settings.delivery.call_timeout_s)
        worker = stream_worker(settings, guard, loop, tracing)
        before = self._cpu.used()  # joining the group included: what is in flight at any later moment is half done
        worker.start()
        deadline = time.monotonic() + DEADLINE_S

        async def completed(enough: int) -> tuple[int, float]:
            while (done := worker.progress.completed) < enough:
                if worker.failure is not None or time.monotonic() > deadline:
                    raise ModerationError(f"the worker of {side} failed, or took {DEADLINE_S:.0f} s")
                await asyncio.sleep(POLL_S)
            return done, time.perf_counter()

        try:
            first, started = await completed(1)
            last, ended = await completed(events)
            used = self._cpu.used().since(before)
        finally:
            await asyncio.to_thread(worker.stop, STOP_S)
        return WorkerRun((last - first) / (ended - started), guard.calls, used)
