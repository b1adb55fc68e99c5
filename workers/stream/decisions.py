"""Takes polled records to decided ones, a chunk at a time, and shows each outcome to the breaker.

Runs on the worker's thread and never waits: guard calls run on an asyncio loop and answer through a mailbox.
Does not poll, release or commit.
"""

import asyncio
import logging
import queue
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipelines.breaker.alarms import Alarm
from pipelines.breaker.breaker import Breaker, counted
from pipelines.guard import Judged
from pipelines.judging import Judge, ask_batch
from pipelines.lanes.overtaking import PROBE_AFTER_S, Answers, apart, unless_overtaken
from pipelines.moderation import Admitted, Moderation, Outcome, Ruling, timestamp
from schemas.dead_letter import DeadLetter
from schemas.reasons import NOTHING_TO_JUDGE
from schemas.record import Partition, SourceRecord
from schemas.verdict import Severity
from schemas.verdict_writer import VerdictText
from workers.stream.assignment import Assignment, InFlightRecord
from workers.telemetry.log import EventName, log_event
from workers.telemetry.message_trace import StreamTracer
from workers.telemetry.metrics.instruments import histogram
from workers.telemetry.metrics.table import PROCESS_DURATION

log = logging.getLogger(__name__)
Items = Sequence[InFlightRecord]
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
PROCESS = {"messaging.system": "kafka", "messaging.operation.name": "process"}


@dataclass(eq=False)
class Decisions:
    """Moderation of one worker's records.

    Args:
        breaker: is shown every outcome before it can be released.
        skips: records with nothing to judge need no outcome; otherwise they are dead letters.
        clock: seconds, monotonic.
    """

    moderation: Moderation
    assignment: Assignment
    tracer: StreamTracer
    breaker: Breaker
    skips: bool
    clock: Callable[[], float]

    def admit(self, records: Sequence[SourceRecord]) -> list[InFlightRecord]:
        """Take polled records in; those without a ruling have to be judged."""
        polled_ns = time.time_ns()
        received_at = timestamp()
        taken: list[InFlightRecord] = []
        letters: list[Outcome] = []
        for record in records:
            partition = self.assignment.get(Partition(record.topic, record.partition))
            if partition is None:
                continue  # revoked between the fetch and now: its next owner reads it
            item = InFlightRecord(partition, record, self.tracer.start(record, polled_ns))
            partition.offsets.deliver(item)
            taken.append(item)
            admitted = self.moderation.admit(record, item.trace.carrier, received_at)
            if isinstance(admitted, DeadLetter) and self.skips and admitted.reason in NOTHING_TO_JUDGE:
                item.skipped = admitted.reason
                if item.trace.spans is not None:
                    item.trace.spans.note("moderation.skipped", admitted.reason)
            elif isinstance(admitted, DeadLetter):
                item.ruling = Ruling(admitted)
                self.tracer.decided(item.trace, record, admitted, polled_ns)
                letters.append(admitted)
            else:
                item.admitted = admitted
                item.tokens = sum([request.tokens for request in admitted.requests])
        if any(item.trace.is_sampled for item in taken):
            self.tracer.polled(polled_ns, [item.record for item in taken], [item.trace for item in taken])
        by_reason = counted(letters)[1] if letters else {}
        admitted_now = sum([item.admitted is not None for item in taken])
        self._tell(self.breaker.observe(self.clock(), admitted=admitted_now, letters=by_reason))
        return taken

    def decide(self, items: Items, judged: Sequence[Sequence[Judged]]) -> None:
        """Decide records by the answers to the requests of each."""
        judged_at = timestamp()
        started_ns = time.time_ns()
        slow_before_ns = self.tracer.slow_before_ns(started_ns)
        outcomes: list[Outcome] = []
        for item, answers in zip(items, judged, strict=True):
            admitted = item.admitted
            assert admitted is not None
            if item.partition.is_lost:
                continue
            ruling = self.moderation.decide(admitted, answers, judged_at)
            item.admitted, item.ruling = None, ruling
            outcome, trace = ruling.outcome, item.trace
            # Decided here, because the tracer nearly always has nothing to do with it.
            if (
                trace.is_sampled
                or type(outcome) is not VerdictText
                or outcome.severity is not Severity.SAFE
                or trace.started_ns <= slow_before_ns
            ):
                self.tracer.decided(trace, item.record, outcome, started_ns, answers)
            outcomes.append(outcome)
        self.tracer.parsed(started_ns, [item.trace for item in items if item.trace.is_sampled], len(items))
        severities, letters = counted(outcomes)
        by = judged[-1][-1].provenance
        judge = f"{by.revision} {by.prompt_sha256}"
        self._tell(self.breaker.observe(self.clock(), severities=severities, letters=letters, judge=judge))

    def _tell(self, alarm: Alarm | None) -> None:
        if alarm is not None:
            level = logging.ERROR if alarm.opens else logging.WARNING
            kind: EventName = "breaker_opened" if alarm.opens else "verdict_drift"
            log.log(level, log_event(kind, cause=alarm.cause, reason=alarm.reason))


class Calls(Generic[Asked, Answer]):
    """Calls of a guard under way, whose answers wait in a mailbox; none is read here.

    Args:
        loop: running asyncio loop, not the caller's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._mailbox: queue.SimpleQueue[tuple[Asked, Answer | BaseException]] = queue.SimpleQueue()
        self._duration = histogram(PROCESS_DURATION)
        self.under_way = 0

    def _begin(self, asked: Asked, call: Coroutine[Any, Any, Answer]) -> None:
        self.under_way += 1
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        asked_at = time.perf_counter()

        def answer(done: "Future[Answer]") -> None:
            self._duration.record(time.perf_counter() - asked_at, PROCESS)
            self._mailbox.put((asked, done.exception() or done.result()))

        future.add_done_callback(answer)

    def answered(self) -> Iterator[tuple[Asked, Answer]]:
        """What has come back since: what was asked, and the answer.

        Raises:
            BaseException: what a call raised; whoever asks lets only faults of our own through.
        """
        while not self._mailbox.empty():
            asked, answer = self._mailbox.get()
            self.under_way -= 1
            if isinstance(answer, BaseException):
                raise answer
            yield asked, answer


class GuardCalls(Calls[Items, Answers | None]):
    """Asks a guard about chunks of records."""

    def __init__(self, judge: Judge, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._judge = judge

    def ask(self, items: Items) -> None:
        """Have the admitted requests of some records judged in one call."""
        self._begin(items, self._ask([item.admitted for item in items if item.admitted]))

    async def _ask(self, batch: Sequence[Admitted]) -> Answers | None:
        asked = asyncio.ensure_future(ask_batch(batch, self._judge))
        await asyncio.wait({asked}, timeout=PROBE_AFTER_S)
        return asked.result() if asked.done() else await unless_overtaken(asked, batch, self._judge)

    def answered(self) -> Iterator[tuple[Items, Answers]]:
        """What has come back since. The records of a call that was overtaken are asked about again, by partition."""
        for items, judged in super().answered():
            if judged is not None:
                yield items, judged
                continue
            for share in apart(items):
                self._begin(share, ask_batch([item.admitted for item in share if item.admitted], self._judge))
