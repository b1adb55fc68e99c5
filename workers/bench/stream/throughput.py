"""Events per second through one stream worker with an instant guard, beside a bare consume-and-produce loop.

All run in processes of their own on the same broker and the same events, in turn: Weir at least once and exactly once,
and the bare loop, which keeps the same rule: poll, send with acks=all, wait for every acknowledgement, commit.
Does not measure the model.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from schemas.errors import ModerationError
from workers.bench.guards import InstantGuard, running_loop
from workers.bench.stream.bare_loop import bare_loop
from workers.bench.stream.span_sink import SpanSink
from workers.bench.stream.workload import Step, bench_name, bench_settings, bench_topics, machine, produce_events
from workers.kafka.admin import Admin
from workers.serving.process_tuning import tune_process
from workers.settings.loading import Settings, otel_variables
from workers.stream.build import stream_worker
from workers.telemetry.export import start_tracing

POLL_S = 0.01
DEADLINE_S = 600.0
SIDES = ("weir", "exactly_once", "bare")


@dataclass(frozen=True)
class StreamBenchResult:
    """Events per second of each run, in the order in which they were made."""

    events: int
    partitions: int
    runs: int
    weir: list[float]
    exactly_once: list[float]
    bare: list[float]
    machine: str

    @property
    def ratio(self) -> float:
        """Median of Weir at least once over median of the bare loop."""
        return statistics.median(self.weir) / statistics.median(self.bare)

    @property
    def exactly_once_ratio(self) -> float:
        """Median of exactly once over median of at least once."""
        return statistics.median(self.exactly_once) / statistics.median(self.weir)

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        ratios = {"ratio": round(self.ratio, 3), "exactly_once_ratio": round(self.exactly_once_ratio, 3)}
        return {**asdict(self), **ratios}


def run_stream_bench(settings: Settings, events: int, partitions: int, runs: int, step: Step) -> StreamBenchResult:
    """Alternate `runs` runs of each on fresh topics.

    Args:
        settings: where Kafka is; topics and group are the benchmark's own.
        events: chat events of each run, one in a hundred of them sampled for tracing.
        partitions: of the event topic.
        runs: of each side.
        step: told what is being done.
    """
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    stem = bench_name()
    names = [f"{stem}-{name}" for name in ("events", "verdicts", "dlq")]
    with Admin(settings.kafka) as client, bench_topics(client, names, partitions):
        step(f"producing {events} events")
        produce_events(settings, names[0], events)
        for run in range(runs):
            for side in SIDES if run % 2 == 0 else reversed(SIDES):
                step(f"run {run + 1} of {runs}: {side}")
                rates[side].append(events / run_side(side, settings, names, events))
    return StreamBenchResult(events, partitions, runs, **rates, machine=machine())


def run_side(
    side: str, settings: Settings, names: list[str], events: int, otel: Mapping[str, str] | None = None
) -> float:
    """Seconds that one of `SIDES` takes for all events by its own clock; everything is committed then.

    Args:
        side: in a process of its own: neither side inherits the other's heap, threads or connections.
        settings: where Kafka is.
        names: topics of events, verdicts and dead letters.
        events: of the event topic.
        otel: the `OTEL_…` variables of Weir's side; if not given, those that send its spans to a sink beside it.

    Raises:
        ModerationError: the process failed, or was not done in time.
    """
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[float] = context.Queue()
    target = _run_bare if side == "bare" else _run_weir
    sections: dict[str, Any] = settings.model_dump(mode="python", include={"kafka", "telemetry"})
    if side == "exactly_once":
        sections["delivery"] = {"mode": side}
    with SpanSink() if otel is None else nullcontext() as sink:
        sections["otel"] = dict((otel or {}) if sink is None else sink.variables)
        process = context.Process(target=target, args=(sections, names, events, queue))
        process.start()
        process.join(DEADLINE_S)
    if process.exitcode != 0:
        process.kill()
        raise ModerationError(f"the run of {side} failed, or took {DEADLINE_S:.0f} s (exit code {process.exitcode})")
    return queue.get()


def _run_weir(
    sections: dict[str, dict[str, object]], names: list[str], events: int, queue: "multiprocessing.Queue[float]"
) -> None:
    otel: Any = sections.pop("otel")
    settings = bench_settings(sections, names)
    tune_process()
    tracing = start_tracing(settings.telemetry, "weir-stream", otel_variables() | otel)
    worker = stream_worker(settings, InstantGuard(), running_loop(), tracing)
    worker.start()
    started = _wait_for(lambda: worker.progress.completed > 0)
    first = worker.progress.completed
    _wait_for(lambda: worker.progress.completed >= events)
    seconds = (time.perf_counter() - started) * events / max(events - first, 1)
    worker.stop(30.0)
    tracing.flush()
    queue.put(seconds)


def _wait_for(condition: Callable[[], bool]) -> float:
    while not condition():
        time.sleep(POLL_S)
    return time.perf_counter()


def _run_bare(
    sections: dict[str, dict[str, object]], names: list[str], events: int, queue: "multiprocessing.Queue[float]"
) -> None:
    del sections["otel"]
    run = bare_loop(bench_settings(sections, names), names, events, lambda record: record.value)
    queue.put(run.wall_s * events / max(run.records, 1))
