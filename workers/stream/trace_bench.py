"""What tracing costs a stream worker: off, with one message in a hundred sampled, and with all, in one run.

The sides differ in what their producers decided and in whether there is somewhere to export to; spans go over OTLP to a
process beside, and what came there is counted.
"""

import statistics
import uuid
from dataclasses import asdict, dataclass

from kafka.admin import NewTopic

from workers.settings import Settings
from workers.stream.bench import Step, machine, produce_events, run_side
from workers.stream.query_clients import admin
from workers.stream.span_sink import SpanSink

# One event in so many is sampled by its producer.
SHARES = {"off": 100, "one_percent": 100, "all": 1}


@dataclass(frozen=True)
class TraceBenchResult:
    """Events per second of each run, in the order in which they were made.

    `lost` counts sampled messages whose spans did not come, of all runs of a side: an exporter that cannot keep up
    drops spans, and a side that is fast because of that is not fast.
    """

    events: int
    partitions: int
    runs: int
    off: list[float]
    one_percent: list[float]
    all: list[float]
    lost: dict[str, int]
    machine: str

    def cost(self, rates: list[float]) -> float:
        """Share of the events a second that a side has fewer than the one without tracing, by medians."""
        return 1 - statistics.median(rates) / statistics.median(self.off)

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        costs = {"one_percent_cost": self.cost(self.one_percent), "all_cost": self.cost(self.all)}
        return {**asdict(self), **{name: round(cost, 3) for name, cost in costs.items()}}


def run_trace_bench(settings: Settings, events: int, partitions: int, runs: int, step: Step) -> TraceBenchResult:
    """Alternate `runs` runs of each side; arguments as those of `workers.stream.bench.run_stream_bench`."""
    rates: dict[str, list[float]] = {side: [] for side in SHARES}
    lost = {"one_percent": 0, "all": 0}
    stem = f"bench-{uuid.uuid4().hex[:8]}"
    inputs = {share: f"{stem}-events-{share}" for share in set(SHARES.values())}
    outputs = [f"{stem}-verdicts", f"{stem}-dlq"]
    with admin(settings.kafka) as client, SpanSink() as sink:
        client.create_topics([NewTopic(name, partitions, 1) for name in (*inputs.values(), *outputs)])
        try:
            for share, topic in inputs.items():
                step(f"producing {events} events, 1 of {share} sampled")
                produce_events(settings, topic, events, share)
            for run in range(runs):
                for side in SHARES if run % 2 == 0 else reversed(SHARES):
                    step(f"run {run + 1} of {runs}: tracing {side}")
                    names = [inputs[SHARES[side]], *outputs]
                    seconds = run_side("weir", settings, names, events, {} if side == "off" else sink.variables)
                    rates[side].append(events / seconds)
                    taken = sink.taken("process ")
                    if side in lost:
                        lost[side] += -(-events // SHARES[side]) - taken
        finally:
            client.delete_topics([*inputs.values(), *outputs])
    return TraceBenchResult(events, partitions, runs, rates["off"], rates["one_percent"], rates["all"], lost, machine())
