"""The shadow lane of one worker: a candidate judges a sample of what was decided live, and differences are written.

The live path only calls `offer`: a hash of the id and, for the sample, one append to a bounded queue; when that is
full, the event is left out and counted. Everything else happens on the lane's own thread and in calls with a time-out,
and no offset ever waits for it. What a stop finds in the lane is left out and counted; after a crash it is gone.
"""

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

from pipelines.fitting.length_policy import LengthPolicy
from pipelines.guard import Judged
from pipelines.in_flight import bytes_of
from pipelines.judging import Judge, ask_batch
from pipelines.moderation import Admitted, Moderation, Outcome, Ruling, timestamp
from pipelines.policy import Policy
from pipelines.shadow import AgreementCounts, disagreement, is_sampled
from schemas.shadow import ShadowJudge, ShadowSummary
from schemas.verdict import Source
from workers.settings.sections import ShadowSettings
from workers.shadow.publisher import ShadowPublisher
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
QUEUE_BYTES = 16 * 2**20  # of the records that wait, whatever their number
CALLS = 4  # of the candidate under way


class Offered(NamedTuple):
    """An event that was decided live. `judged` is what the live guard answered."""

    admitted: Admitted
    judged: Sequence[Judged]
    outcome: Outcome


class Answered(NamedTuple):
    """What became of a call of the candidate: the answers for each event, or None where it failed."""

    chunk: Sequence[Offered]
    judged: Sequence[Sequence[Judged]] | None


@dataclass(slots=True)
class LaneCounts:
    """Counts since the start. Each has one writer, so that none needs a lock."""

    offered: int = 0
    offered_bytes: int = 0
    dropped: int = 0
    done: int = 0
    done_bytes: int = 0
    unanswered: int = 0


class ShadowLane:
    """Compares a candidate with what was decided live.

    Args:
        settings: the section.
        moderation: the candidate's, for the lane alone: the policy, and what is live's besides.
        judge: gets answers from the candidate's model; None: the candidate is a policy only.
        loop: running asyncio loop for its calls.
        publisher: where disagreements and summaries go.
        judges: what live and candidate are, as the settings name them.
        chunk_size: events of one call.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: ShadowSettings,
        moderation: Moderation,
        judge: Judge | None,
        loop: asyncio.AbstractEventLoop,
        publisher: ShadowPublisher,
        judges: tuple[ShadowJudge, ShadowJudge],
        chunk_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._moderation = moderation
        self._judge = judge
        self._loop = loop
        self._publisher = publisher
        self._judges = judges
        self._chunk_size = chunk_size
        self._clock = clock
        self._mailbox: queue.SimpleQueue[Offered | Answered | None] = queue.SimpleQueue()
        self._waiting: deque[Offered] = deque()
        self._under_way: set[Future[list[list[Judged]]]] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weir-shadow", daemon=True)
        self._worker = uuid4().hex
        self._tally = AgreementCounts()
        self._since, self._due = timestamp(), clock() + settings.summary_interval_s
        self._told = (0, 0, 0)
        self.counts = LaneCounts()
        self.totals = AgreementCounts()

    # -- from other threads ------------------------------------------------------------------------------------------

    def offer(self, admitted: Admitted, judged: Sequence[Judged], outcome: Outcome) -> None:
        """Show the lane one decided event, on the worker's thread. Never waits and never raises."""
        if not is_sampled(admitted.record, self._settings.share):
            return
        counts, size = self.counts, bytes_of(admitted.record)
        if (
            self._stopping.is_set()
            or counts.offered - counts.done >= self._settings.queue_records
            or counts.offered_bytes - counts.done_bytes + size > QUEUE_BYTES
        ):
            counts.dropped += 1
            return
        counts.offered += 1
        counts.offered_bytes += size
        self._mailbox.put(Offered(admitted, judged, outcome))

    @property
    def unpublished(self) -> int:
        """Records that could not be written."""
        return self._publisher.unpublished

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Write a last summary and end; what waits is left out as unanswered."""
        self._stopping.set()
        self._mailbox.put(None)  # wakes the thread
        self._thread.join(timeout_s)

    # -- the lane's own thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - a fault of ours in the lane must not end it, nor live
                log.error(log_event("shadow_failed", error=type(error).__name__))
        for call in list(self._under_way):
            call.cancel()
        self.counts.unanswered += self.counts.offered - self.counts.done
        self.counts.done, self.counts.done_bytes = self.counts.offered, self.counts.offered_bytes
        self._summarise()
        self._publisher.close()

    def _turn(self) -> None:
        """Wait for something to do, and do it."""
        try:
            entry = self._mailbox.get(timeout=max(0.0, self._due - self._clock()))
        except queue.Empty:
            entry = None
        if isinstance(entry, Offered):
            self._waiting.append(entry)
        elif isinstance(entry, Answered):
            self._take(entry)
        while self._waiting and not self._stopping.is_set() and len(self._under_way) < CALLS and self._mailbox.empty():
            self._ask([self._waiting.popleft() for _ in range(min(self._chunk_size, len(self._waiting)))])
        if self._clock() >= self._due:
            self._summarise()

    def _ask(self, chunk: list[Offered]) -> None:
        if self._judge is None:
            self._take(Answered(chunk, [item.judged for item in chunk]))
            return
        batch = [_without_trace(item.admitted) for item in chunk]

        async def judged() -> list[list[Judged]]:
            assert self._judge is not None
            async with asyncio.timeout(self._settings.timeout_s):
                return await ask_batch(batch, self._judge)

        def answer(done: "Future[list[list[Judged]]]") -> None:
            self._under_way.discard(done)
            failed = done.cancelled() or done.exception() is not None
            self._mailbox.put(Answered(chunk, None if failed else done.result()))

        call = asyncio.run_coroutine_threadsafe(judged(), self._loop)
        self._under_way.add(call)
        call.add_done_callback(answer)

    def _take(self, answered: Answered) -> None:
        """Compare a chunk; all of its events are done afterwards, even where the comparison failed."""
        answers = answered.judged if answered.judged is not None else [None] * len(answered.chunk)
        for item, judged in zip(answered.chunk, answers, strict=True):
            try:
                if judged is None:
                    self.counts.unanswered += 1
                else:
                    self._compare(item, self._moderation.decide(item.admitted, judged).outcome)
            except Exception as error:  # noqa: BLE001 - a fault of ours that this event met; live has its outcome
                self.counts.unanswered += 1
                log.error(log_event("shadow_failed", error=type(error).__name__))
            finally:
                self.counts.done += 1
                self.counts.done_bytes += bytes_of(item.admitted.record)

    def _compare(self, item: Offered, candidate: Outcome) -> None:
        self.totals.add(item.outcome, candidate)
        if found := self._tally.add(item.outcome, candidate):
            record = item.admitted.record
            source = Source(topic=record.topic, partition=record.partition, offset=record.offset)
            self._publisher.send(disagreement(item.admitted.event_id, source, found, item.outcome, candidate))

    def _summarise(self) -> None:
        """Write what was counted since the last summary; what could not be written is in the next one."""
        self._due = self._clock() + self._settings.summary_interval_s
        counts, tally, now = self.counts, self._tally, timestamp()
        told = (counts.dropped, counts.unanswered, self.unpublished)
        dropped, unanswered, unpublished = (new - old for new, old in zip(told, self._told, strict=True))
        if not (tally.agreed or tally.disagreed or any((dropped, unanswered, unpublished))):
            self._since = now
            return
        live, candidate = self._judges
        written = self._publisher.send(
            ShadowSummary(
                worker=self._worker,
                started_at=self._since,
                ended_at=now,
                share=self._settings.share,
                live=live,
                candidate=candidate,
                agreed=tally.agreed,
                disagreed=tally.disagreed,
                dropped=dropped,
                unanswered=unanswered,
                unpublished=unpublished,
                differences=dict(tally.differences),
                pairs=tally.pairs,
            )
        )
        if written:
            self._since, self._told, self._tally = now, told, AgreementCounts()


def _without_trace(admitted: Admitted) -> Admitted:
    """What the candidate does is no part of the live message's trace."""
    return admitted._replace(requests=tuple(request._replace(carrier={}) for request in admitted.requests))


class ShadowedModeration(Moderation):
    """Moderation that shows each ruling to a shadow lane once it is made.

    Args:
        lane: is offered them.
        policy, length, rest: see `Moderation`.
    """

    def __init__(self, lane: ShadowLane, policy: Policy, length: LengthPolicy, **rest: Any) -> None:
        super().__init__(policy, length, **rest)
        self._lane = lane

    def decide(self, admitted: Admitted, judged: Sequence[Judged], judged_at: str | None = None) -> Ruling:
        """See `Moderation`."""
        ruling = super().decide(admitted, judged, judged_at)
        self._lane.offer(admitted, judged, ruling.outcome)
        return ruling
