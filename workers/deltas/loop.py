"""A turn of the delta worker's thread: poll, put frames in order, ask, publish, complete, commit.

What is the same as in the stream worker is inherited. Guard calls run on an asyncio loop and answer through a mailbox.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.turns.asking import Answered, TurnAsker
from pipelines.turns.port import TurnPush
from schemas.record import Partition, SourceRecord
from workers.deltas.open_turns import OpenTurns
from workers.deltas.records import DeltaRecord, SaidRecord
from workers.stream.assignment import AssignedPartition, InFlightRecord
from workers.stream.decisions import Calls
from workers.stream.loop import Loop

LOOK_S = 1.0  # time between two looks at the ends of the logs


class TurnCalls(Calls[Sequence[TurnPush], list[Answered]]):
    """Asks the stream guard about what comes next of some turns."""

    def __init__(self, asker: TurnAsker, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._asker = asker

    def ask(self, pushes: Sequence[TurnPush]) -> None:
        """Have some pushes judged in one call."""
        self._begin(pushes, self._asker.ask(pushes))


@dataclass(kw_only=True, eq=False)
class DeltaLoop(Loop):
    """The parts of one worker, at work.

    Args:
        turns: what is open.
        topic: where verdicts of turns go.
        idle_s: a turn without a delta for so long is closed, once nothing more of it can be in the log.
    """

    calls: TurnCalls  # type: ignore[assignment]  # what uses it is overridden
    decisions: None = field(default=None, init=False)  # type: ignore[assignment]  # `turns` does
    turns: OpenTurns
    topic: str
    idle_s: float
    _asked: Any = field(default=None, init=False)
    _asked_at: float = field(default=0.0, init=False)
    _begun: dict[Partition, AssignedPartition] = field(default_factory=dict, init=False)

    def _take(self, records: list[SourceRecord]) -> None:
        if not records:
            return
        if not self.calls.under_way and self.assignment.is_idle:
            self.progress.advanced()
        self.assignment.taken(self.turns.admit(records))

    def advance(self) -> None:
        """Ask what can be asked, publish what is said, complete what was acknowledged. Never waits."""
        if self.publisher.failure is not None:
            raise self.publisher.failure
        self.turns.drop_lost()
        for pushes, answers in self.calls.answered():
            self.turns.answered(pushes, answers)
        self._look_at_ends()
        for pushes in self.turns.pushes():
            self.calls.ask(pushes)
        if outcomes := self.turns.outcomes:
            self.turns.outcomes = []
            self.publisher.publish(outcomes)
        if done := self.turns.done:
            self.turns.done = []
            self._completed(done)
        while not self.acknowledged.empty():
            self._complete(self.acknowledged.get())
        self.assignment.release()  # nothing waits for its place in the order of records

    def _complete(self, items: Sequence[InFlightRecord]) -> None:
        letters = [item for item in items if not isinstance(item, SaidRecord)]
        self.outcomes.add(letters)
        last = [item.first for item in items if isinstance(item, SaidRecord) and item.said.final]
        self.outcomes.sent[self.topic] += len(items) - len(letters)
        for first in last:
            first.is_first = False
        self.tracer.acknowledged([item.trace for item in (*letters, *last) if item.trace.is_sampled])
        self._completed([item for item in (*letters, *last) if not _begins_a_turn(item)])

    def _completed(self, items: Sequence[InFlightRecord]) -> None:
        items = [item for item in items if not item.is_completed]
        self.assignment.complete(items)
        for item in items:
            if item.trace.is_sampled and item.is_completed:
                self.tracer.completed(item.trace)
        self.progress.advanced(len(items))
        self.commits.completed()

    # -- ends of logs ------------------------------------------------------------------------------------------------

    def _look_at_ends(self) -> None:
        """Learn where logs end: where one was taken over, and whether a turn's next delta may be in it unread."""
        now = self.clock()
        owned = {partition.id: partition for partition in self.assignment.owned()}
        if self._asked is not None and self._asked.is_done:
            asked, self._asked = self._asked, None
            if asked.succeeded():
                ends = {Partition(*found): end.offset for found, end in asked.value.items()}
                self._begin(owned, ends)
                self._close_idle(ends)
        if self._asked is not None or now - self._asked_at < LOOK_S or not owned:
            return
        is_new = any(self._begun.get(partition) is not each for partition, each in owned.items())
        if is_new or self.turns.untouched_since(now - self.idle_s):
            self._asked_at = now
            self._asked = self.consumer.ask_ends(owned)

    def _begin(self, owned: dict[Partition, AssignedPartition], ends: dict[Partition, int]) -> None:
        for partition, each in owned.items():
            if partition in ends and self._begun.get(partition) is not each:
                self._begun[partition] = each
                self.turns.begun[partition] = ends[partition]

    def _close_idle(self, ends: dict[Partition, int]) -> None:
        idle = self.turns.untouched_since(self._asked_at - self.idle_s)
        read = {partition: self.consumer.position(partition) for partition in {each.id for _, each in idle}}
        self.turns.close(
            key for key, each in idle if (at := read[each.id]) is not None and ends.get(each.id, at + 1) <= at
        )


def _begins_a_turn(item: InFlightRecord) -> bool:
    return isinstance(item, DeltaRecord) and item.is_first
