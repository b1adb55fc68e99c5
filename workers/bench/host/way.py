"""The whole way of a message, measured: real Kafka, a stream worker, a Serve handle, a guard replica, no model.

Beside it, on the same broker and events in the same run: the same way batched by `@serve.batch`, and a bare
kafka-python loop that reads the same events and writes as many bytes. Says what each costs in CPU time; what it gives
in messages a second depends on how many cores there are.
"""

import multiprocessing
import statistics
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.guard import GuardAnswer, Judged
from schemas.dead_letter import DeadLetter
from schemas.errors import ModerationError
from schemas.record import SourceRecord
from workers.bench.guards import PROVENANCE
from workers.bench.host.cpu_parts import PARTS, Used
from workers.bench.host.guard_replicas import RANKS, HostGuard, ServeBatchHostGuard
from workers.bench.host.worker_replica import DEADLINE_S, HostWorker
from workers.bench.serving.local_serve import local_serve, neither_compiled_nor_kept, start_replica, versions
from workers.bench.stream.bare_loop import BareRun, bare_loop
from workers.bench.stream.workload import Step, bench_name, bench_settings, bench_topics, machine, produce_events
from workers.guard.setup import moderation_of
from workers.kafka.admin import Admin
from workers.kafka.errors import KafkaError
from workers.settings.loading import Settings

WEIR, SERVE_BATCH, BARE = "weir", "serve.batch", "bare"
SIDES = (WEIR, SERVE_BATCH, BARE)
GPU_RATE = 5_000  # messages a second that one H200 should judge
_US = 1_000_000
_ASK_S = 30.0


@dataclass(frozen=True)
class HostRun:
    """One run of one side.

    Attributes:
        cpu_us_per_message: of all processes that are ours.
        worker_us_per_message: of the stream worker's process, or the bare loop's.
        replica_us_per_message: of all guard replicas'.
        parts: CPU microseconds a message by part; none of the bare loop.
        messages_per_s: on this machine, with the broker on it if it is here.
        messages_per_call: of the Serve handle.
        worker_mib, replica_mib: resident memory at the end; the largest of several replicas.
    """

    side: str
    cpu_us_per_message: float
    worker_us_per_message: float
    replica_us_per_message: float
    parts: dict[str, float]
    messages_per_s: float
    messages_per_call: float = 0.0
    worker_mib: float = 0.0
    replica_mib: float = 0.0


@dataclass(frozen=True)
class HostResult:
    """Runs of each side, in the order in which they were made."""

    events: int
    partitions: int
    replicas: int
    runs: list[HostRun]
    machine: str
    versions: dict[str, str]

    def median(self, side: str, figure: str = "cpu_us_per_message") -> float:
        """Of a side's runs; 0 where it has none."""
        return statistics.median([float(getattr(run, figure)) for run in self.runs if run.side == side] or [0.0])

    @property
    def parts(self) -> dict[str, float]:
        """Medians of Weir's parts."""
        runs = [run for run in self.runs if run.side == WEIR]
        return {part: statistics.median(run.parts[part] for run in runs) for part in PARTS}

    @property
    def replica_messages_per_s(self) -> float:
        """What one core gives, if it does nothing but run a guard replica."""
        return _US / self.median(WEIR, "replica_us_per_message")

    @property
    def cores_for_a_gpu(self) -> float:
        """Cores that feed one H200."""
        return self.median(WEIR) * GPU_RATE / _US

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        return {
            "cpu_us_per_message": self.median(WEIR),
            "replica_messages_per_s": self.replica_messages_per_s,
            "parts": self.parts,
            "cores_for_5000_per_s": self.cores_for_a_gpu,
            "baselines_cpu_us_per_message": {side: self.median(side) for side in SIDES[1:]},
            **asdict(self),
        }


def run_host_bench(
    settings: Settings, events: int, partitions: int, replicas: int, runs: int, step: Step
) -> HostResult:
    """Take turns, `runs` of each side.

    Args:
        settings: where Kafka is; topics and groups are the benchmark's own. No judgement is kept, since all runs read
            the same events, and nothing is traced.
        events: of each run, as long as chat messages are.
        partitions: of the event topic.
        replicas: of the guard.
        runs: of each side.
        step: told what is being done.

    Raises:
        ModerationError: no broker answers; says how to start one.
    """
    settings = neither_compiled_nor_kept(settings)
    stem = bench_name()
    names = [f"{stem}-{name}" for name in ("events", "verdicts", "dlq")]
    try:
        client = Admin(settings.kafka)
    except KafkaError as error:
        named = f"kafka.bootstrap_servers={settings.kafka.bootstrap_servers}: {type(error).__name__}"
        raise ModerationError(f"{named}; `make kafka-up` starts a broker on 127.0.0.1:9092") from None
    cpus = (2 * replicas + 1) * settings.guard.cpus_per_replica
    with client, bench_topics(client, names, partitions), local_serve(cpus):
        step("starting replicas")
        bench = _Bench(settings, names, events, replicas)
        step(f"producing {events:,} events")
        produce_events(settings, names[0], events, share=0, texts=bench.texts())
        made = []
        for run in range(runs):
            for side in SIDES if run % 2 == 0 else reversed(SIDES):
                step(f"run {run + 1} of {runs}: {side}")
                made.append(bench.run(side))
    return HostResult(events, partitions, replicas, made, machine(), versions())


class _Bench:
    def __init__(self, settings: Settings, names: list[str], events: int, replicas: int) -> None:
        self._names = names
        self._events = events
        self._replicas = replicas
        self._sections: dict[str, Any] = settings.model_dump(mode="python", include={"kafka", "telemetry", "guard"})
        kinds = {WEIR: HostGuard, SERVE_BATCH: ServeBatchHostGuard}
        self._guards = {
            side: start_replica(settings, side, kind, (settings, RANKS), gpu_share=0.0, replicas=replicas)
            for side, kind in kinds.items()
        }
        self._worker = start_replica(settings, "worker", HostWorker, (settings, self._guards), gpu_share=0.0)

    def texts(self) -> list[str]:
        """One for each event."""
        texts: list[str] = self._guards[WEIR].texts.remote(self._events).result(timeout_s=DEADLINE_S)
        return texts

    def run(self, side: str) -> HostRun:
        """One run of one side."""
        return self._bare() if side == BARE else self._on_serve(side)

    def _on_serve(self, side: str) -> HostRun:
        before = self._used(side)
        rate, calls, worker = self._worker.run.remote(side, self._sections, self._names, self._events).result(
            timeout_s=DEADLINE_S
        )
        after = self._used(side)
        of_worker = {part: seconds / self._events * _US for part, seconds in worker.seconds.items()}
        guards = [used.since(before[process]).seconds for process, used in after.items()]
        of_guards = {part: sum(each.get(part, 0.0) for each in guards) / self._events * _US for part in PARTS}
        parts = {part: of_worker.get(part, 0.0) + of_guards.get(part, 0.0) for part in PARTS}
        worker_us, replica_us = sum(of_worker.values()), sum(of_guards.values())
        return HostRun(
            side,
            worker_us + replica_us,
            worker_us,
            replica_us,
            parts,
            rate,
            self._events / calls,
            worker.resident_mib,
            max(used.resident_mib for used in after.values()),
        )

    def _used(self, side: str) -> dict[int, Used]:
        """What each of a side's replicas has used by now, by process."""
        answers = self._guards[side].broadcast("used").results(timeout_s=_ASK_S)
        if len(answers) != self._replicas:
            raise ModerationError(f"{len(answers)} of {self._replicas} replicas of {side} answer")
        return {answer.process: answer for answer in answers}

    def _bare(self) -> HostRun:
        context = multiprocessing.get_context("spawn")
        queue: multiprocessing.Queue[BareRun] = context.Queue()
        process = context.Process(target=_run_bare, args=(self._sections, self._names, self._events, queue))
        process.start()
        process.join(DEADLINE_S)
        if process.exitcode != 0:
            process.kill()
            raise ModerationError(f"the bare loop failed, or took {DEADLINE_S:.0f} s (exit code {process.exitcode})")
        records, wall_s, cpu_s = queue.get()
        spent = cpu_s / max(records, 1) * _US
        return HostRun(BARE, spent, spent, 0.0, {}, records / wall_s)


def _run_bare(sections: dict[str, Any], names: list[str], events: int, queue: "multiprocessing.Queue[BareRun]") -> None:
    settings = bench_settings(sections, names)
    verdict: list[bytes] = []

    def value_of(record: Any) -> bytes:
        if not verdict:
            verdict.append(_verdict_of(settings, record.topic, record.key, record.value))
        return verdict[0]

    queue.put(bare_loop(settings, names, events, value_of))


def _verdict_of(settings: Settings, topic: str, key: bytes, value: bytes) -> bytes:
    """A verdict's bytes, for one event."""
    moderation = moderation_of(settings)
    admitted = moderation.admit(SourceRecord(topic, 0, 0, 0, key, value, ()))
    if isinstance(admitted, DeadLetter):
        raise ModerationError(f"the benchmark's own event is a dead letter: {admitted.reason}")
    answer = GuardAnswer("Safety: Safe\nCategories: None", None, None, 300, 8, True, {}, 0.1, 1.0)
    outcome = moderation.decide(admitted, [Judged(answer, PROVENANCE, 1)]).outcome
    if isinstance(outcome, DeadLetter):
        raise ModerationError(f"the benchmark's own verdict is a dead letter: {outcome.reason}")
    return outcome.value
