"""Events per second through one stream worker with an instant guard, beside a bare consume-and-produce loop.

All run in processes of their own on the same broker and the same events, in turn: Weir at least once and exactly once,
and the bare loop, which keeps the same rule: poll, send with acks=all, wait for every acknowledgement, commit.
Does not measure the model.
"""

import asyncio
import json
import multiprocessing
import platform
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import NewTopic
from kafka.partitioner.default import DefaultPartitioner

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
from schemas.errors import ModerationError
from schemas.verdict import Provenance
from workers.bench.stream.span_sink import SpanSink
from workers.kafka.consumer import group_consumer
from workers.kafka.producer import producer
from workers.kafka.reader import admin
from workers.settings.loading import Settings, load_settings, otel_variables
from workers.stream.assembly import stream_worker
from workers.stream.process_tuning import tune_process
from workers.telemetry.export import start_tracing

POLL_S = 0.01
LONG_POLL_MS = 10_000  # a poll that ends in the middle of a join can park a lone consumer for good (3.0.12)
WORDS = (
    "hey", "team", "who", "is", "up", "for", "the", "raid", "tonight", "i", "think", "patch", "broke", "my", "aim",
    "again", "lol",
)  # fmt: skip
DEADLINE_S = 600.0
PROVENANCE = Provenance(model="stub", revision="0", prompt_sha256="0", engine="stub", dtype="none", parser="1")
SIDES = ("weir", "exactly_once", "bare")
Step = Callable[[str], None]


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


class InstantGuard:
    """Answers every prompt at once with Safe: the guard costs nothing, so that the stream is what is measured."""

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        answer = GuardAnswer("Safety: Safe\nCategories: None", None, None, 300, 8, True, {}, 0.0, 0.0)
        return GuardReply([answer] * len(requests), PROVENANCE)


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
    names = [f"bench-{uuid.uuid4().hex[:8]}-{name}" for name in ("events", "verdicts", "dlq")]
    with admin(settings.kafka) as client:
        client.create_topics([NewTopic(name, partitions, 1) for name in names])
        try:
            step(f"producing {events} events")
            produce_events(settings, names[0], events)
            for run in range(runs):
                for side in SIDES if run % 2 == 0 else reversed(SIDES):
                    step(f"run {run + 1} of {runs}: {side}")
                    rates[side].append(events / run_side(side, settings, names, events))
        finally:
            client.delete_topics(names)
    return StreamBenchResult(events, partitions, runs, **rates, machine=machine())


def machine() -> str:
    """Processor, cores and Python, in words."""
    models = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    name = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{name}, {multiprocessing.cpu_count()} cores, Python {platform.python_version()}"


class BenchEvent(NamedTuple):
    """One record of the event topic."""

    key: bytes
    value: bytes
    traceparent: bytes


def bench_events(events: int, share: int = 100) -> Iterator[BenchEvent]:
    """Chat-length events, the same each time; `event-7` is the eighth. One in `share` is sampled."""
    random = Random(1)
    for index in range(events):
        text = " ".join(random.choices(WORDS, k=random.randint(3, 30)))
        value = {"event_id": f"event-{index}", "conversation_id": f"c-{index % 5000}", "tenant": "bench", "text": text}
        flags = "01" if index % share == 0 else "00"
        context = f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-{flags}".encode()
        yield BenchEvent(b"c-%d" % (index % 5000), json.dumps(value).encode(), context)


def produce_events(settings: Settings, topic: str, events: int, share: int = 100) -> None:
    """Write `bench_events`."""
    sender = producer(settings.kafka)
    for event in bench_events(events, share):
        sender.send(topic, event.value, event.key, [("traceparent", event.traceparent)])
    sender.flush()
    sender.close()


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


def bench_settings(sections: dict[str, dict[str, object]], names: list[str]) -> Settings:
    """Settings with the benchmark's own topics and a new group."""
    kafka = {**sections["kafka"], "group_id": f"bench-{uuid.uuid4().hex[:8]}"}
    topics = {"events": (names[0],), "verdicts": names[1], "dead_letters": names[2]}
    rest: dict[str, Any] = {name: section for name, section in sections.items() if name != "kafka"}
    return load_settings(kafka=kafka, topics=topics, **rest)


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


def running_loop() -> asyncio.AbstractEventLoop:
    """An asyncio loop that runs on a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


def _wait_for(condition: Callable[[], bool]) -> float:
    while not condition():
        time.sleep(POLL_S)
    return time.perf_counter()


def _run_bare(
    sections: dict[str, dict[str, object]], names: list[str], events: int, queue: "multiprocessing.Queue[float]"
) -> None:
    del sections["otel"]
    settings = bench_settings(sections, names)
    consumer = group_consumer(settings.kafka)
    consumer.subscribe([names[0]])
    sender: KafkaProducer = producer(settings.kafka)
    sender.config["partitioner"] = DefaultPartitioner()  # the library's own
    done = first = 0
    started = 0.0
    while done < events:
        polled = consumer.poll(LONG_POLL_MS)
        records = [record for batch in polled.values() for record in batch]
        if not records:
            continue
        sent = [sender.send(names[1], record.value, record.key, list(record.headers)) for record in records]
        sender.flush()
        for future in sent:
            future.get(0)
        consumer.commit(
            {TopicPartition(*tp): OffsetAndMetadata(batch[-1].offset + 1, "", -1) for tp, batch in polled.items()}
        )
        done += len(records)
        if not first:
            first, started = done, time.perf_counter()
    seconds = (time.perf_counter() - started) * events / max(events - first, 1)
    consumer.close()
    sender.close()
    queue.put(seconds)
