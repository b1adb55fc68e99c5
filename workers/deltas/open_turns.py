"""The turns of one worker that are open: which record belongs to which, what to ask next, and what is to be said.

Runs on the worker's thread and never waits. Does not poll, ask or publish.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipelines.failure import terminal
from pipelines.moderation import Ruling
from pipelines.turns.asking import Answered
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import TurnKey, TurnPush
from pipelines.turns.turn import Turn
from schemas.dead_letter import dead_letter
from schemas.errors import EventError, TerminalError
from schemas.reasons import NOTHING_TO_JUDGE, Reason
from schemas.record import Partition, SourceRecord
from schemas.turns.frame import DeltaFrame, decode_frame
from schemas.turns.verdict import StreamVerdict
from workers.deltas.records import DeltaRecord, SaidRecord
from workers.stream.assignment import AssignedPartition, Assignment, InFlightRecord
from workers.telemetry.message_trace import MessageTrace


@dataclass(slots=True, eq=False)
class _Open:
    """A turn, and its records.

    `waiting` are those whose text no push has taken yet, `pushed` those of the push under way, `held` by number those
    that wait for one before them.
    """

    turn: Turn
    first: DeltaRecord
    touched_at: float
    waiting: list[DeltaRecord] = field(default_factory=list)
    pushed: list[DeltaRecord] = field(default_factory=list)
    held: dict[int, DeltaRecord] = field(default_factory=dict)
    characters: int = 0

    @property
    def partition(self) -> AssignedPartition:
        return self.first.partition


@dataclass(kw_only=True, eq=False)
class OpenTurns:
    """Turns by their names, those first that had no delta for longest.

    Args:
        most: turns that may be open; beyond that, the tenant that has most loses those that had no delta for longest.
        most_characters: of all open turns together.
        skips: records without a value need no outcome; otherwise they are dead letters.
        new_trace: begins the trace of a record, at the time of its poll.
        clock: seconds, monotonic.

    Attributes:
        outcomes: what is to be published, in order.
        done: records that need nothing more.
        counts: frames and turns by what became of them.
        begun: where the log of each partition ended when it was given to this worker: what is before that, another
            may have judged.
    """

    assignment: Assignment
    rules: TurnRules
    most: int
    most_characters: int
    max_event_bytes: int
    group: str
    skips: bool
    new_trace: Callable[[SourceRecord], MessageTrace]
    clock: Callable[[], float]
    outcomes: list[InFlightRecord] = field(default_factory=list, init=False)
    done: list[DeltaRecord] = field(default_factory=list, init=False)
    counts: Counter[str] = field(default_factory=Counter, init=False)
    _open: OrderedDict[TurnKey, _Open] = field(default_factory=OrderedDict, init=False)
    _ended: OrderedDict[TurnKey, _Open] = field(default_factory=OrderedDict, init=False)
    _ready: dict[TurnKey, None] = field(default_factory=dict, init=False)
    begun: dict[Partition, int] = field(default_factory=dict, init=False)
    _characters: int = field(default=0, init=False)

    def __len__(self) -> int:
        """Turns that are open."""
        return len(self._open)

    @property
    def characters(self) -> int:
        """Characters that are kept of them."""
        return self._characters

    # -- records come in ---------------------------------------------------------------------------------------------

    def admit(self, records: Sequence[SourceRecord]) -> list[DeltaRecord]:
        """Take polled records in."""
        self.drop_lost()
        taken: list[DeltaRecord] = []
        for record in records:
            partition = self.assignment.get(Partition(record.topic, record.partition))
            if partition is None:
                continue  # revoked between the fetch and now: its next owner reads it
            item = DeltaRecord(partition, record, MessageTrace((), 0))
            partition.offsets.deliver(item)
            taken.append(item)
            try:
                self._admit(item, decode_frame(record.value, self.max_event_bytes))
            except EventError as error:
                if self.skips and error.reason in NOTHING_TO_JUDGE:
                    self.counts["skipped"] += 1
                    self.done.append(item)
                else:
                    self._refuse(item, error)
            except Exception as error:  # noqa: BLE001 - see pipelines.failure
                self._refuse(item, terminal(error, record))
        self._make_room()
        return taken

    def _admit(self, item: DeltaRecord, frame: DeltaFrame) -> None:
        key = TurnKey(frame.tenant, frame.conversation_id, frame.turn)
        state = self._open.get(key) or self._ended_here(key, item.partition)
        is_new = state is None
        if state is not None and state.partition is not item.partition:
            raise EventError(Reason.INVALID_VALUE, _two_partitions(state.partition.id, item.partition.id))
        if state is None:
            state = _Open(Turn(key, self.rules), item, self.clock())
        taken = state.turn.frames.take(frame)  # a turn whose first frame is refused has not begun
        self.counts[taken] += 1
        if taken in ("repeated", "ignored"):
            self.done.append(item)
            return
        if is_new:
            item.trace = self.new_trace(item.record)
            item.is_first = True
            self._open[key] = state
        state.touched_at = self.clock()
        self._open.move_to_end(key)
        if taken == "held":
            state.held[frame.seq] = item
            item.rests = True
            self._count(state)
            return
        for seq, fault in state.turn.frames.refused:
            self._refuse(state.held.pop(seq), fault)
        state.turn.frames.refused.clear()
        absorbed = [item, *(state.held.pop(seq) for seq in list(state.held) if seq < state.turn.frames.next_seq)]
        for each in absorbed:
            each.lighten(is_counted=each is not item)
            each.rests = False
        state.waiting += absorbed
        self._count(state)
        self._ready[key] = None

    def _refuse(self, item: DeltaRecord, error: TerminalError) -> None:
        """Make a record a dead letter."""
        letter = dead_letter(item.record, error, group=self.group)
        item.ruling = Ruling(letter)
        self.counts["refused"] += 1
        self.outcomes.append(item)

    def _ended_here(self, key: TurnKey, partition: AssignedPartition) -> _Open | None:
        """A turn that has ended, unless its partition is read again since."""
        state = self._ended.get(key)
        return state if state is not None and state.partition is partition else None

    def _count(self, state: _Open) -> None:
        now = state.turn.frames.size
        self._characters += now - state.characters
        state.characters = now

    # -- the guard ---------------------------------------------------------------------------------------------------

    def pushes(self) -> Iterator[list[TurnPush]]:
        """What to ask now: calls of pushes that share a way to the guard."""
        by_shard: dict[int, list[TurnPush]] = {}
        for key in self._ready:
            state = self._open.get(key)
            if state is None or state.turn.is_under_way:
                continue
            if state.turn.given_up():
                self._end(state)
                continue
            if (push := state.turn.next_push(state.first.trace.carrier)) is None:  # its writer is waited for
                done, state.waiting = state.waiting, []
                self._done(done)
                state.first.rests = True
                continue
            self.counts["replayed"] += push.messages is not None and state.turn.pushes > 1
            state.pushed, state.waiting = state.waiting, []
            state.first.rests = False
            by_shard.setdefault(-len(by_shard) - 1 if push.alone else key.shard, []).append(push)
        self._ready.clear()
        yield from by_shard.values()

    def answered(self, pushes: Sequence[TurnPush], answers: Sequence[Answered]) -> None:
        """Take in what the guard said; turns that are gone meanwhile are passed over."""
        for push, (answer, by) in zip(pushes, answers, strict=True):
            state = self._open.get(push.key)
            if state is None or not state.turn.awaits(push):
                continue
            news = state.turn.answered(answer, by)
            for token in news.raises:
                self._say(state, state.turn.raised_verdict(token))
                self.counts[f"raised {token.role}"] += 1
            if news.end is not None:
                self._end(state)
                continue
            if answer.error is None:
                self._done(state.pushed)
                state.first.rests = not state.waiting
            else:  # it is asked again, with all of its text
                state.waiting = state.pushed + state.waiting
            state.pushed = []
            self._ready[push.key] = None

    # -- ends --------------------------------------------------------------------------------------------------------

    def untouched_since(self, before: float) -> list[tuple[TurnKey, AssignedPartition]]:
        """Turns without a new delta since then, by the clock."""
        found: list[tuple[TurnKey, AssignedPartition]] = []
        for key, state in self._open.items():
            if state.touched_at > before:
                break
            if not state.turn.frames.is_whole:
                found.append((key, state.partition))
        return found

    def close(self, keys: Iterable[TurnKey]) -> None:
        """End turns whose writers are no longer waited for."""
        for key in keys:
            state = self._open[key]
            if not state.turn.frames.next_seq:
                self._without_beginning(state)
                continue
            state.turn.frames.close("idle")
            self._ready[key] = None

    def drop_lost(self) -> None:
        """Forget turns of partitions that are gone, or are read again."""
        for turns in (self._open, self._ended):
            for key in [key for key, state in turns.items() if state.partition.is_lost]:
                self._characters -= turns.pop(key).characters

    def _make_room(self) -> None:
        if len(self._open) > self.most:
            self._give_up(self.most, lambda _: 1)
        if self._characters > self.most_characters:
            self._give_up(self.most_characters, lambda state: state.characters)

    def _give_up(self, most: int, weight: Callable[[_Open], int]) -> None:
        """End turns of the tenants that have most. What ends takes its characters along as soon as it is judged."""
        going: dict[str, deque[TurnKey]] = {}
        weights: Counter[str] = Counter()
        for key, state in self._open.items():
            if not state.turn.frames.is_whole:
                going.setdefault(key.tenant, deque()).append(key)
                weights[key.tenant] += weight(state)
        over = weights.total() - most
        while over > 0:
            [(tenant, _)] = weights.most_common(1)
            key = going[tenant].popleft()
            ends = weight(self._open[key])
            weights[tenant] -= ends
            over -= ends
            self.close([key])

    def _without_beginning(self, state: _Open) -> None:
        """A turn of which frames came and not the first: its end was judged before, or its beginning is nowhere."""
        begins_at = self.begun.get(state.partition.id)
        state.first.is_first = False
        for seq, item in state.held.items():
            if begins_at is None or item.offset < begins_at:
                self.counts["repeated"] += 1
                self.done.append(item)
            else:
                detail = f"seq: {seq}, and the first frame of its turn has not come"
                self._refuse(item, EventError(Reason.INVALID_VALUE, detail))
        self._characters -= self._open.pop(state.turn.key).characters

    def _say(self, state: _Open, verdict: StreamVerdict) -> None:
        self.outcomes.append(SaidRecord(state.first, verdict))

    def _end(self, state: _Open) -> None:
        key = state.turn.key
        self._say(state, state.turn.end_verdict())
        state.first.rests = False
        self._done([*state.pushed, *state.waiting, *state.held.values()])
        state.pushed, state.waiting, state.held = [], [], {}
        del self._open[key]
        self._count(state)
        self._characters -= state.characters
        state.characters = 0
        self._ended[key] = state
        if len(self._ended) > self.most:
            self._ended.popitem(last=False)
        self.counts[f"ended {state.turn.end}"] += 1

    def _done(self, items: Iterable[DeltaRecord]) -> None:
        """Records that need nothing more; the first of an open turn is completed with its last verdict."""
        self.done += [item for item in items if not item.is_first]


def _two_partitions(first: Partition, second: Partition) -> str:
    return (
        f"conversation_id: this turn began in partition {first.number} and goes on in {second.number}; a conversation's"
        " frames need one key"
    )
