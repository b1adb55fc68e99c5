"""What tracing costs a stream worker: off, with one message in a hundred sampled, with all, and with a collector down.

The sides differ in what their producers decided, in whether there is a collector, and in whether it answers. Spans go
over OTLP to another process, which counts them.
"""

import statistics
from dataclasses import dataclass
from typing import NamedTuple

from workers.bench.stream.span_sink import SpanSink
from workers.bench.stream.throughput import run_side
from workers.bench.stream.workload import Step, bench_name, bench_topics, machine, produce_events
from workers.kafka.admin import Admin
from workers.settings.loading import Settings


class Side(NamedTuple):
    """One event in `share` is sampled by its producer."""

    share: int
    collector: str


OFF, UP, STALLED, STOPPED = "none", "up", "stalled", "stopped"
SIDES = {
    "off": Side(100, OFF),
    "one_percent": Side(100, UP),
    "all": Side(1, UP),
    "one_percent_stalled": Side(100, STALLED),
    "one_percent_stopped": Side(100, STOPPED),
}


@dataclass(frozen=True)
class TraceBenchResult:
    """Events per second of each run by side, in the order in which they were made.

    `lost` counts sampled messages whose spans did not come, of all runs of a side: an exporter that cannot keep up
    drops spans, and a side that is fast because of that is not fast.
    """

    events: int
    partitions: int
    runs: int
    rates: dict[str, list[float]]
    lost: dict[str, int]
    machine: str

    def cost(self, side: str) -> float:
        """Share of the events a second that a side has fewer than the one without tracing.

        The median of the rounds' own costs: a machine that is faster in one round than in the next moves both sides.
        """
        pairs = zip(self.rates[side], self.rates["off"], strict=True)
        return statistics.median(1 - rate / off for rate, off in pairs)

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        costs = {side: round(self.cost(side), 3) for side in self.rates}
        shown = {name: getattr(self, name) for name in ("events", "partitions", "runs", "rates", "lost", "machine")}
        return {**shown, "costs": costs}


def run_trace_bench(settings: Settings, events: int, partitions: int, runs: int, step: Step) -> TraceBenchResult:
    """Make `runs` runs of each side, in turn; arguments as those of `run_stream_bench`."""
    rates: dict[str, list[float]] = {name: [] for name in SIDES}
    lost = {name: 0 for name, side in SIDES.items() if side.collector == UP}
    stem = bench_name()
    inputs = {share: f"{stem}-events-{share}" for share in {side.share for side in SIDES.values()}}
    outputs = [f"{stem}-verdicts", f"{stem}-dlq"]
    with (
        Admin(settings.kafka) as client,
        bench_topics(client, [*inputs.values(), *outputs], partitions),
        SpanSink() as sink,
        SpanSink() as silent,
    ):
        silent.stall()
        variables = {OFF: {}, UP: sink.variables, STALLED: silent.variables, STOPPED: sink.nowhere()}
        for share, topic in inputs.items():
            step(f"producing {events} events, 1 of {share} sampled")
            produce_events(settings, topic, events, share)
        for run in range(runs):
            first = run % len(SIDES)  # each side comes first once, and second once, and so on
            for name, side in (*list(SIDES.items())[first:], *list(SIDES.items())[:first]):
                step(f"run {run + 1} of {runs}: tracing {name}")
                topics = [inputs[side.share], *outputs]
                seconds = run_side("weir", settings, topics, events, variables[side.collector])
                rates[name].append(events / seconds)
                taken = sink.taken("process ")
                if name in lost:
                    lost[name] += -(-events // side.share) - taken
    return TraceBenchResult(events, partitions, runs, rates, lost, machine())
