"""Guard calls under way: asked by the worker's thread, run on an asyncio loop, answered through a mailbox.

Does not read the answers, and never waits.
"""

import asyncio
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from time import perf_counter

from pipelines.guard import Judged
from pipelines.judging import Judge
from workers.stream.in_flight_record import InFlightRecord
from workers.telemetry.metrics.instruments import histogram
from workers.telemetry.metrics.table import PROCESS_DURATION

Items = Sequence[InFlightRecord]
PROCESS = {"messaging.system": "kafka", "messaging.operation.name": "process"}


class GuardCalls:
    """Asks a guard about chunks of records.

    Args:
        judge: gets answers from the guard.
        loop: running asyncio loop, not the caller's thread.
    """

    def __init__(self, judge: Judge, loop: asyncio.AbstractEventLoop) -> None:
        self._judge = judge
        self._loop = loop
        self._mailbox: queue.SimpleQueue[tuple[Items, list[Judged] | BaseException]] = queue.SimpleQueue()
        self._duration = histogram(PROCESS_DURATION)
        self.under_way = 0

    def ask(self, items: Items) -> None:
        """Have the admitted requests of some records judged in one call."""
        self.under_way += 1
        requests = [request for item in items if item.admitted for request in item.admitted.requests]
        future = asyncio.run_coroutine_threadsafe(self._judge.judge(requests), self._loop)
        asked_at = perf_counter()

        def answer(done: "Future[list[Judged]]") -> None:
            self._duration.record(perf_counter() - asked_at, PROCESS)
            self._mailbox.put((items, done.exception() or done.result()))

        future.add_done_callback(answer)

    def answered(self) -> Iterator[tuple[Items, list[Judged]]]:
        """What has come back since: records as they were asked about, and one answer for each of their requests.

        Raises:
            BaseException: what a call raised; the judge lets only faults of our own through.
        """
        while not self._mailbox.empty():
            items, judged = self._mailbox.get()
            self.under_way -= 1
            if isinstance(judged, BaseException):
                raise judged
            yield items, judged
