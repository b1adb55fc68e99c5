"""Memory of a stream worker whose guard never answers, in front of a long backlog: it must not grow.

Does not judge anything.
"""

import multiprocessing
import os
import time
from dataclasses import asdict, dataclass

from workers.bench.guards import StalledGuard, running_loop
from workers.bench.stream.workload import Step, bench_name, bench_settings, bench_topics, machine, produce_events
from workers.kafka.admin import Admin
from workers.settings.loading import Settings
from workers.stream.build import stream_worker
from workers.telemetry.export import Tracing
from workers.telemetry.metrics.process import resident_bytes

SAMPLE_S = 1.0
DEADLINE_S = 300.0
PARTITIONS = 4


@dataclass(frozen=True)
class StallResult:
    """Resident memory in MiB: before the first record, when the in-flight limit was reached, and each second after."""

    events: int
    before: float
    full: float
    after: list[float]
    in_flight: int
    machine: str

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        return {**asdict(self), "growth_mib": round(self.after[-1] - self.full, 1)}


def run_stall(settings: Settings, events: int, seconds: int, step: Step) -> StallResult:
    """Produce `events`, start a worker, and watch its memory for `seconds` after its in-flight limit is reached."""
    stem = bench_name()
    names = [f"{stem}-{name}" for name in ("events", "verdicts", "dlq")]
    with Admin(settings.kafka) as client, bench_topics(client, names, PARTITIONS):
        step(f"producing {events} events")
        produce_events(settings, names[0], events)
        step(f"watching for {seconds} s")
        context = multiprocessing.get_context("spawn")
        queue: multiprocessing.Queue[StallResult] = context.Queue()
        sections = settings.model_dump(mode="python", include={"kafka", "telemetry"})
        process = context.Process(target=_watch, args=(sections, names, events, seconds, queue))
        process.start()
        result = queue.get(timeout=DEADLINE_S + seconds)
        process.join()
    return result


def _watch(
    sections: dict[str, dict[str, object]],
    names: list[str],
    events: int,
    seconds: int,
    queue: "multiprocessing.Queue[StallResult]",
) -> None:
    settings = bench_settings(sections, names)
    worker = stream_worker(settings, StalledGuard(), running_loop(), Tracing(enabled=False, parent_decides=True))
    before = _resident_mib()
    worker.start()
    while not worker.is_full:
        time.sleep(SAMPLE_S / 10)
    full = _resident_mib()
    after = []
    for _ in range(seconds):
        time.sleep(SAMPLE_S)
        after.append(_resident_mib())
    queue.put(StallResult(events, before, full, after, worker.in_flight, machine()))
    queue.close()
    queue.join_thread()
    os._exit(0)  # the worker could only be stopped by a guard that answers


def _resident_mib() -> float:
    return round((resident_bytes() or 0.0) / 2**20, 1)
