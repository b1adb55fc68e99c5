"""Puts dead letters back: reads their topic up to its present end, produces the originals, commits behind them.

After an interruption, wherever it came, the same command goes on: what was not committed comes again, at most one
batch, and nothing is left out. A letter that is not put back stays where it is and is counted, with the reason.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from pipelines.in_flight import bytes_of
from schemas.errors import ModerationError
from schemas.record import Partition, SourceRecord
from workers.kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    kafka_faults,
)
from workers.kafka.producer import ExactProducer
from workers.kafka.reader import OffsetRange, OffsetRanges, Progress, TopicReader, offsets_in
from workers.settings.loading import Settings
from workers.tools.dead_letters.redrive.letters import Family, Selection
from workers.tools.dead_letters.redrive.progress import RedriveProgress
from workers.tools.dead_letters.redrive.routes import Fate, Handled, Routes, TopicPartitions
from workers.tools.dead_letters.redrive.sender import RedriveSender

BATCH_RECORDS = 500
BATCH_BYTES = 16 * 2**20
MAX_LOOKED_AT = 10_000  # letters between two commits, where few of them are put back
MAX_LEFT_LISTED = 20


@dataclass(frozen=True, slots=True)
class RedriveOrder:
    """What is to be done.

    Args:
        selection: which letters, and where to.
        group: keeps how far it has got; `<kafka.group_id>.redrive` where None.
        limit: most letters to put back or park.
        rate: records a second at most.
        max_redrives: a letter that was put back so often is parked.
        from_start: forget what earlier redrives have seen to.
        dry_run: produce and commit nothing.
    """

    selection: Selection = field(default_factory=Selection)
    group: str | None = None
    limit: int | None = None
    rate: float | None = None
    max_redrives: int = 3
    from_start: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class LetterCause:
    """What letters are counted by; all but the family are empty where nobody says so."""

    family: Family
    reason: str
    stage: str
    topic: str


@dataclass(frozen=True, slots=True)
class LeftLetter:
    """One that stays where it is, at `PARTITION:OFFSET` of its topic."""

    dead_letter: str
    why: str


@dataclass(slots=True)
class RedriveReport:
    """Counts of a run; of a dry one, what would have been.

    `skipped` are those that the filters do not ask for, `earlier` those that a run before has seen to, and
    `not_remembered` those left that the next run will not look at again.
    """

    topic: str
    group: str
    is_dry: bool = False
    is_complete: bool = False
    put_back: int = 0
    parked: int = 0
    left: int = 0
    earlier: int = 0
    skipped: int = 0
    not_remembered: int = 0
    by_cause: dict[LetterCause, dict[Fate, int]] = field(default_factory=dict)
    by_target: dict[str, int] = field(default_factory=dict)
    why_left: dict[str, int] = field(default_factory=dict)
    left_letters: list[LeftLetter] = field(default_factory=list)

    @property
    def touched(self) -> int:
        """Letters that were produced somewhere."""
        return self.put_back + self.parked

    def add(self, handled: Handled) -> None:
        """Count one."""
        letter, outgoing, fate, why = handled.letter, handled.outgoing, handled.ends_as, handled.refusal or handled.why
        setattr(self, fate, getattr(self, fate) + 1)
        if fate is Fate.SKIPPED:
            return
        source = "" if letter.original is None else letter.original.topic
        counts = self.by_cause.setdefault(LetterCause(letter.family, *letter.cause, source), {})
        counts[fate] = counts.get(fate, 0) + 1
        if fate is Fate.LEFT:
            self.why_left[why] = self.why_left.get(why, 0) + 1
            if len(self.left_letters) < MAX_LEFT_LISTED:
                record = letter.record
                self.left_letters.append(LeftLetter(f"{record.partition}:{record.offset}", why))
        elif outgoing is not None:
            self.by_target[outgoing.topic] = self.by_target.get(outgoing.topic, 0) + 1


class Pace:
    """Keeps to a rate, on average since the start.

    Args:
        rate: records a second; None for no limit.
        clock: seconds, monotonic.
        wait: waits seconds.
    """

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._wait = wait
        self._started: float | None = None
        self._sent = 0

    @property
    def most(self) -> int:
        """Records of one batch: no more than a second's worth."""
        return BATCH_RECORDS if self._rate is None else max(1, min(BATCH_RECORDS, int(self._rate)))

    def before(self, count: int) -> None:
        """Wait until as many more records may go."""
        if self._rate is None:
            return
        if self._started is None:
            self._started = self._clock()
        early = self._started + self._sent / self._rate - self._clock()
        self._sent += count
        if early > 0:
            self._wait(early)


class Redrive:
    """One run over some offsets of a dead-letter topic.

    Args:
        order: what is to be done.
        routes: says what becomes of each letter.
        offsets: keeps how far it has got.
        sender: writes records.
        pace: holds back.
        report: is filled in.
    """

    def __init__(
        self,
        order: RedriveOrder,
        routes: Routes,
        offsets: RedriveProgress,
        sender: RedriveSender,
        pace: Pace,
        report: RedriveReport,
    ) -> None:
        self._order = order
        self._routes = routes
        self._offsets = offsets
        self._sender = sender
        self._pace = pace
        self._report = report
        self._batch: list[Handled] = []
        self._bytes = 0
        self._outgoing = 0

    def run(self, reader: TopicReader, ranges: OffsetRanges, progress: Progress) -> None:
        """Work through the ranges, or until the limit is reached."""
        starts = {partition: offsets.start for partition, offsets in ranges.items()}
        positions, total = starts.copy(), offsets_in(ranges)
        progress(0, total)
        if not self._order.dry_run:
            # A missing right shows now, not after the first batch has been put back.
            self._offsets.commit(starts)
        for record in reader.read(ranges):
            self._take(record)
            is_last = self._report.touched + self._outgoing == self._order.limit
            if is_last or self._is_full():
                positions |= self._settle()
                progress(sum(positions.values()) - sum(starts.values()), total)
            if is_last:
                return
        self._settle()
        progress(total, total)
        self._report.is_complete = True
        if not self._order.dry_run:
            self._offsets.commit({partition: offsets.end for partition, offsets in ranges.items()})

    def _take(self, record: SourceRecord) -> None:
        try:
            handled = self._routes.handle(record, self._offsets.is_seen_to)
        except (ModerationError, KafkaError):
            self._settle()  # what stands before it has nothing to do with it
            raise
        self._batch.append(handled)
        if handled.outgoing is not None:
            self._outgoing += 1
            self._bytes += bytes_of(record)

    def _is_full(self) -> bool:
        return self._outgoing >= self._pace.most or self._bytes >= BATCH_BYTES or len(self._batch) >= MAX_LOOKED_AT

    def _settle(self) -> dict[Partition, int]:
        """Send what is to be sent, commit behind it and count it; the positions reached."""
        batch, self._batch, self._outgoing, self._bytes = self._batch, [], 0, 0
        outgoing = [handled.outgoing for handled in batch if handled.outgoing is not None]
        try:
            if outgoing and not self._order.dry_run:
                self._pace.before(len(outgoing))
                self._sender.send(outgoing)
        finally:
            done = self._done(batch)
            records = [item.letter.record for item in done]
            reached = {record.topic_partition: record.offset + 1 for record in records}
            if not self._order.dry_run:
                self._offsets.commit(reached, [item.letter.record for item in done if item.ends_as is Fate.LEFT])
            for item in done:
                self._report.add(item)
        return reached

    def _done(self, batch: list[Handled]) -> list[Handled]:
        """Of each partition the letters before the first one that is neither written nor left."""
        if self._order.dry_run:
            return batch
        stopped: set[int] = set()
        done = []
        for item in batch:
            if item.outgoing is not None and not item.outgoing.is_done:
                stopped.add(item.letter.record.partition)
            if item.letter.record.partition not in stopped:
                done.append(item)
        return done


def redrive(settings: Settings, order: RedriveOrder, progress: Progress = lambda _done, _total: None) -> RedriveReport:
    """Put dead letters back.

    Args:
        settings: the dead-letter topic, where Kafka is, and whose topics are not written to.
        order: what is to be done.
        progress: called with the number of offsets seen to and their total.

    Raises:
        ModerationError: Kafka does not answer or refuses; says how many were put back by then. They are committed.
    """
    group = order.group or f"{settings.kafka.group_id}.redrive"
    report = RedriveReport(settings.topics.dead_letters, group, is_dry=order.dry_run)
    since_ms = order.selection.filters.since_ms
    try:
        with (
            kafka_faults(settings.kafka),
            _rights(settings, group),
            TopicReader(settings.kafka, isolation="read_committed") as reader,
            TopicReader(settings.kafka) as sources,
            closing(RedriveSender(lambda: ExactProducer(settings.kafka))) as sender,
        ):
            held = reader.ranges((settings.topics.dead_letters,))
            asked = held if since_ms is None else reader.ranges((settings.topics.dead_letters,), since_ms)
            with RedriveProgress(settings.kafka, group, order.selection, held, from_start=order.from_start) as offsets:
                starts = {partition: max(offsets.start(partition), asked[partition].start) for partition in held}
                ranges = {
                    partition: OffsetRange(start, held[partition].end)
                    for partition, start in starts.items()
                    if start < held[partition].end
                }
                partitions = TopicPartitions(settings, sources)
                routes = Routes(
                    settings.topics, order.selection, order.max_redrives, sources, partitions, dry=order.dry_run
                )
                Redrive(order, routes, offsets, sender, Pace(order.rate), report).run(reader, ranges, progress)
                report.not_remembered = offsets.not_remembered
    except ModerationError as error:
        if not report.touched or order.dry_run:
            raise
        raise ModerationError(
            f"{error}; {report.put_back} put back and {report.parked} parked before that, run again to go on"
        ) from None
    return report


@contextmanager
def _rights(settings: Settings, group: str) -> Iterator[None]:
    """Say which right is missing."""
    try:
        yield
    except GroupAuthorizationFailedError:
        raise ModerationError(f"group {group}: READ is not allowed to this user") from None
    except TopicAuthorizationFailedError:
        raise ModerationError(
            f"READ is not allowed to this user, on topic {settings.topics.dead_letters} or on one whose letters have to"
            " be fetched from their source"
        ) from None
