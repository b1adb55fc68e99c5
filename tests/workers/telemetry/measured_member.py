"""A stream worker in a process of its own, with metrics and spans going to a collector, that says how it is doing."""

import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import NamedTuple

from tests.guards.scripted_guard import ScriptedGuard
from workers.bench.guards import running_loop
from workers.settings.loading import Settings, otel_variables
from workers.stream.build import stream_worker
from workers.telemetry.export import start_metrics, start_tracing
from workers.telemetry.metrics.process import resident_bytes


class Report(NamedTuple):
    """Records completed since the start, bytes of memory, and whether the worker has failed."""

    completed: int
    memory: int
    failed: bool


def _work(settings: Settings, variables: dict[str, str], pipe: Connection) -> None:
    os.environ.update(variables)
    tracing = start_tracing(settings.telemetry, "weir-stream", otel_variables())
    metrics = start_metrics("weir-stream", otel_variables())
    worker = stream_worker(settings, ScriptedGuard(), running_loop(), tracing)
    worker.start()
    while pipe.recv() == "report":
        memory = int(resident_bytes() or 0)
        pipe.send(Report(worker.progress.completed, memory, worker.failure is not None))
    pipe.send(worker.stop(20.0))
    tracing.flush()
    metrics.flush()


class MeasuredMember:
    """The process. Its telemetry goes where `variables` say."""

    def __init__(self, settings: Settings, variables: dict[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(settings, variables, theirs), daemon=True)
        self.process.start()

    def report(self) -> Report:
        """How it is doing."""
        self._pipe.send("report")
        answer: Report = self._pipe.recv()
        return answer

    def stop(self) -> bool:
        """Have it drain, leave and flush its telemetry; True where it was drained in time."""
        self._pipe.send("stop")
        drained = bool(self._pipe.recv())
        self.process.join(30)
        return drained

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join()
