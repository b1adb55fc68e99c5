"""Weir's stream worker beside other stream frameworks set up for at least once, and beside the bare loop.

All read the same events from the same broker in turn, each in a new group and into a new result topic, and do the same
work: decode, validate, pass the trace context on, write a verdict with acks=all, commit after the acknowledgement.
Every result is read back and checked. Does not measure the model.
"""

import statistics
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from schemas.errors import ConfigurationError, ModerationError
from workers.bench.stream.peers.environments import PEERS, Installed, Peer, install
from workers.bench.stream.peers.process import run_peer
from workers.bench.stream.peers.results import TIMESTAMPS, Checked, Expected, check_results, expected_results
from workers.bench.stream.throughput import SIDES, run_side
from workers.bench.stream.workload import Step, bench_events, bench_name, bench_topics, machine, produce_events
from workers.kafka.admin import Admin
from workers.kafka.errors import kafka_faults
from workers.kafka.reader import TopicReader
from workers.settings.loading import Settings


@dataclass
class SideResult:
    """One side: events per second of each run, or why there are none.

    Attributes:
        name: of the side.
        versions: what it runs on.
        is_peer: whether it is somebody else's.
        lacks: what at least once would need and it has not.
        rates: in the order of the runs.
        duplicates: results beyond the first of their event, over all runs.
        value_bytes: mean size of a result.
        not_installed: why it could not be tried.
        problem: what went wrong in a run; it is not run again.
    """

    name: str
    versions: str
    is_peer: bool = False
    lacks: str = ""
    rates: list[float] = field(default_factory=list)
    duplicates: int = 0
    value_bytes: float = 0.0
    not_installed: str | None = None
    problem: str | None = None

    @property
    def median(self) -> float | None:
        """Of the rates; None unless every run went well."""
        return statistics.median(self.rates) if self.rates and self.problem is None else None


@dataclass(frozen=True)
class PeerBenchResult:
    """All sides of one benchmark."""

    events: int
    partitions: int
    runs: int
    sides: list[SideResult]
    machine: str

    @property
    def weir(self) -> SideResult | None:
        """Weir at least once."""
        return next((side for side in self.sides if side.name == "weir"), None)

    @property
    def best_peer(self) -> SideResult | None:
        """The fastest of the peers that went well."""
        peers = [side for side in self.sides if side.is_peer and side.median]
        return max(peers, key=lambda side: side.median or 0.0, default=None)

    @property
    def ratio(self) -> float | None:
        """Median of Weir at least once over that of the best peer."""
        ours = None if self.weir is None else self.weir.median
        best = None if self.best_peer is None else self.best_peer.median
        return None if ours is None or best is None else ours / best

    @property
    def is_good(self) -> bool:
        """Whether every side that could be run went well."""
        return all(side.problem is None for side in self.sides)

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        best = None if self.best_peer is None else self.best_peer.name
        ratio = None if self.ratio is None else round(self.ratio, 3)
        sides = [{**asdict(side), "median": side.median} for side in self.sides]
        return {**asdict(self), "sides": sides, "best_peer": best, "ratio": ratio, "passed": self.is_good}


class _Bench:
    """The topics that all runs share."""

    def __init__(self, settings: Settings, client: Admin, partitions: int) -> None:
        stem = bench_name()
        self.settings = settings
        self.events, self.dead_letters = f"{stem}-events", f"{stem}-dlq"
        self._stem, self._client, self._partitions = stem, client, partitions

    def topics(self) -> AbstractContextManager[None]:
        """With the event and the dead-letter topic."""
        return bench_topics(self._client, [self.events, self.dead_letters], self._partitions)

    @contextmanager
    def results(self) -> Iterator[str]:
        """With a new result topic, stamped by the broker."""
        name = f"{self._stem}-results-{uuid.uuid4().hex[:4]}"
        with bench_topics(self._client, [name], self._partitions, TIMESTAMPS):
            yield name


def run_peer_bench(
    settings: Settings,
    events: int,
    partitions: int,
    runs: int,
    folder: Path,
    step: Step,
    peers: Sequence[Peer] = PEERS,
    own: Sequence[str] = SIDES,
) -> PeerBenchResult:
    """Alternate `runs` runs of each side.

    Args:
        settings: where Kafka is, without TLS or SASL; topics and groups are the benchmark's own.
        events: chat events of each run.
        partitions: of every topic.
        runs: of each side.
        folder: where the peers' environments are kept.
        step: told what is being done.
        peers: what to run beside Weir.
        own: sides of `workers.bench.stream.throughput`.

    Raises:
        ConfigurationError: the broker wants more than the peers' programs can say.
        ModerationError: the broker fails.
    """
    if settings.kafka.security_protocol != "PLAINTEXT":
        protocol = settings.kafka.security_protocol
        raise ConfigurationError(f"kafka.security_protocol={protocol}: the peers only connect with PLAINTEXT")
    sides = [SideResult(name, _own_versions(name)) for name in own]
    installed: dict[str, Installed] = {}
    for peer in peers:
        step(f"looking for {peer.name} in {folder}, or installing it")
        side = SideResult(peer.name, "", is_peer=True, lacks=peer.lacks)
        sides.append(side)
        try:
            installed[peer.name] = install(peer, folder)
            side.versions = installed[peer.name].versions
        except ModerationError as error:
            side.not_installed = str(error)
    expected = expected_results(bench_events(events))
    with kafka_faults(settings.kafka), Admin(settings.kafka) as client:
        bench = _Bench(settings, client, partitions)
        with bench.topics():
            step(f"producing {events} events")
            produce_events(settings, bench.events, events)
            for run in range(runs):
                for side in sides if run % 2 == 0 else sides[::-1]:
                    if side.problem is None and side.not_installed is None:
                        step(f"run {run + 1} of {runs}: {side.name}")
                        _add_run(side, bench, expected, installed.get(side.name))
    return PeerBenchResult(events, partitions, runs, sides, machine())


def _own_versions(name: str) -> str:
    names = ("kafka-python",) if name == "bare" else ("weir-moderation", "kafka-python", "pydantic")
    return ", ".join(f"{package} {version(package)}" for package in names)


def _add_run(side: SideResult, bench: _Bench, expected: Sequence[Expected], installed: Installed | None) -> None:
    with bench.results() as results:
        try:
            if installed is None:
                names = [bench.events, results, bench.dead_letters]
                run_side(side.name, bench.settings, names, len(expected))
            else:
                run_peer(installed, bench.settings.kafka, bench.events, results, len(expected))
        except ModerationError as error:
            side.problem = str(error)
            return
        checked = _check(bench.settings, results, expected, verdicts=side.name != "bare")
    side.rates.append(checked.rate)
    side.duplicates += checked.duplicates
    side.value_bytes = round(checked.value_bytes, 1)
    side.problem = checked.problem


def _check(settings: Settings, results: str, expected: Sequence[Expected], *, verdicts: bool) -> Checked:
    with TopicReader(settings.kafka, isolation="read_committed") as reader:
        return check_results(reader.read(reader.ranges([results])), expected, verdicts=verdicts)
