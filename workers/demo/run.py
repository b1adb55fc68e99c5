"""The demo's run: broker, sample, Serve application, and what came out, as one report.

Prints nothing; `workers.cli.demo` does.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind

from schemas.dead_letter import read_dead_letter
from schemas.reasons import Reason
from schemas.verdict import Severity, Verdict
from workers.demo.broker import EmbeddedBroker
from workers.demo.sample import SampleRecord, sample_records
from workers.demo.turns import TurnsReport, answers, ended, read_turns, write_turns
from workers.kafka.producer import producer
from workers.kafka.reader import TopicReader
from workers.serving.running import RunningApplication
from workers.settings.loading import Settings, load_settings, otel_variables
from workers.telemetry.export import start_tracing
from workers.telemetry.span_encoding import new_root, read_traceparent
from workers.tools.inspect.trace import SpanNode, read_spans, trace_tree
from workers.tools.verify.ledger import Ledger
from workers.tools.verify.verify import verify

POLL_S = 0.3
TIMEOUT_S = 120.0
# Whether a text that is well-formed ends in the grammar or off it is the tiny model's own doing.
MODEL_DECIDES = {None, Reason.UNPARSABLE_OUTPUT, Reason.OUTPUT_CUT_OFF}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DemoReport:
    """What the demo saw.

    Attributes:
        ledger: closed or not, with its counts.
        unexpected: records whose end was another than the sample says; the model may err, the worker may not.
        seconds: from the start of Ray to the last outcome.
        example: one verdict, as published.
        tree: the trace of that verdict's message.
        turns: answers that were judged while they were written; None where there are none.
    """

    ledger: Ledger
    severities: Counter[str]
    categories: Counter[str]
    actions: Counter[str]
    reasons: Counter[str]
    unexpected: list[str]
    seconds: float
    example: dict[str, Any]
    tree: SpanNode
    turns: TurnsReport | None

    @property
    def is_good(self) -> bool:
        """True where the ledger is proven and every record ended as it should."""
        return self.ledger.is_proven and not self.unexpected and (self.turns is None or self.turns.ledger.is_proven)


def run_demo(count: int, progress: Progress, turns: int = 0) -> DemoReport:
    """Moderate `count` sample events, and judge so many answers while they are written.

    `progress` gets a step's name, done and total.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="weir-demo-") as folder, EmbeddedBroker() as broker:
        settings = _settings(broker, Path(folder), has_turns=turns > 0)
        for topic in (*settings.inputs, settings.topics.verdicts, settings.topics.dead_letters, settings.topics.stream):
            broker.create_topic(topic)
        records, sample = sample_records(count), answers(turns)
        progress("starting Ray, the consumer and the tiny model", 0, count)
        with RunningApplication(settings, quiet=True) as application:
            expected = _produce(settings, records)
            write_turns(settings, sample)
            deadline = time.monotonic() + TIMEOUT_S
            completed = 0
            while completed < count and time.monotonic() < deadline and not application.stopping.is_set():
                progress("moderating", completed, count)
                time.sleep(POLL_S)
                completed = application.completed()
            while sample and ended(settings) < len(sample) and time.monotonic() < deadline:
                time.sleep(POLL_S)
            seconds = time.monotonic() - started
            progress("stopping", completed, count)
        of_turns = read_turns(settings, sample) if sample else None
        return _report(settings, expected, seconds, Path(folder), of_turns)


def _settings(broker: EmbeddedBroker, folder: Path, *, has_turns: bool) -> Settings:
    return load_settings(
        kafka={"bootstrap_servers": broker.bootstrap_servers, "api_version": broker.api_version},
        guard={"model": "demo", "dtype": "float32", "max_new_tokens": 32, "compile": False},
        # The 100,000-word message of the sample shall be refused, not judged in hundreds of windows.
        length={"mode": "window", "max_tokens": 1024, "overlap_tokens": 64, "max_windows": 8},
        deltas={"enabled": has_turns},
        stream_guard={"model": "demo", "dtype": "float32"},
        telemetry={"span_directory": str(folder)},
    )


def _produce(settings: Settings, records: list[SampleRecord]) -> dict[tuple[int, int], Reason | None]:
    """Write the sample, each record under a span of its own; returns the expected end by partition and offset."""
    tracing = start_tracing(settings.telemetry, "weir-demo", otel_variables())
    tracer = trace.get_tracer(__name__)
    topic = settings.topics.events[0]
    sender = producer(settings.kafka)
    sent = []
    for record in records:
        with tracer.start_as_current_span(f"send {topic}", Context(), SpanKind.PRODUCER):
            carrier: dict[str, str] = {}
            inject(carrier)
            headers = [*record.headers, *((name, value.encode()) for name, value in carrier.items())]
            sent.append((sender.send(topic, record.value, record.key, headers), record.expected))
    sender.flush()
    sender.close()
    tracing.flush()
    return {(future.value.partition, future.value.offset): expected for future, expected in sent}


def _report(
    settings: Settings,
    expected: dict[tuple[int, int], Reason | None],
    seconds: float,
    folder: Path,
    turns: TurnsReport | None,
) -> DemoReport:
    severities, categories, actions, reasons = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    unexpected = []
    example: dict[str, Any] = {}
    of_example = new_root()  # overwritten: the demo has verdicts
    with TopicReader(settings.kafka) as reader:
        for record in reader.read(reader.ranges([settings.topics.verdicts])):
            verdict = Verdict.model_validate_json(record.value or b"")
            severities[verdict.severity] += 1
            categories.update(verdict.categories)
            actions[verdict.action] += 1
            wanted = expected.get((verdict.source.partition, verdict.source.offset))
            if wanted not in MODEL_DECIDES:
                unexpected.append(f"{verdict.event_id}: a verdict in place of {wanted}")
            if not example or (verdict.severity is Severity.UNSAFE and example["severity"] != Severity.UNSAFE):
                example = json.loads(record.value or b"")
                of_example = read_traceparent(record.header("traceparent") or b"") or of_example
        for record in reader.read(reader.ranges([settings.topics.dead_letters])):
            letter = read_dead_letter(record)
            reasons[letter.reason] += 1
            wanted = expected.get((letter.source.partition, letter.source.offset))
            if wanted is not letter.reason and not {wanted, letter.reason} <= MODEL_DECIDES:
                source = f"{letter.source.partition}-{letter.source.offset}"
                unexpected.append(f"{source}: {letter.reason} in place of {wanted or 'a verdict'}")
    return DemoReport(
        ledger=verify(settings),
        severities=severities,
        categories=categories,
        actions=actions,
        reasons=reasons,
        unexpected=unexpected,
        seconds=seconds,
        example=example,
        tree=trace_tree(read_spans(folder), of_example),
        turns=turns,
    )
