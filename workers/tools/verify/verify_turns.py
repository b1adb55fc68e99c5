"""Reads the topics of turns up to their present ends, and closes the ledger over them.

The ends are asked for in the order frames, commits, verdicts, as `workers.tools.verify.verify` does.
"""

from workers.kafka.errors import kafka_faults
from workers.kafka.reader import Isolation, OffsetsRead, Progress, TopicReader
from workers.settings.loading import Settings
from workers.settings.stream_guard import delta_group
from workers.tools.verify.turn_ledger import TurnBook, TurnLedger
from workers.tools.verify.verify import CLOCK_SKEW_MS, Bounds, add_outcomes


def verify_turns(
    settings: Settings,
    bounds: Bounds | None = None,
    *,
    isolation: Isolation = "read_committed",
    allow_tail: bool = False,
    limit: int = 20,
    progress: Progress = lambda _done, _total: None,
) -> TurnLedger:
    """The ledger of what the topics hold about turns that are judged while they are written.

    Args:
        settings: topics, group and where Kafka is.
        bounds: which frames; a turn counts whose first frame is among them.
        isolation: of dead letters, which the other lane may write in transactions.
        allow_tail: turns that the group has not committed need no last verdict.
        limit: violations listed of each kind.
        progress: called with the number of offsets read and their total.

    Raises:
        ConfigurationError: a bound names no partition of deltas.
        ModerationError: Kafka does not answer, or a topic is not there.
    """
    topics, kafka, looked_at = settings.topics, settings.kafka, bounds or Bounds()
    with kafka_faults(kafka), TopicReader(kafka, delta_group(kafka.group_id), "read_committed") as reader:
        held = reader.ranges((topics.deltas,), looked_at.since_ms, looked_at.until_ms)
        frames = looked_at.cut(held)
        committed = reader.committed(frames)
        since_ms = None if looked_at.since_ms is None else max(0, looked_at.since_ms - CLOCK_SKEW_MS)
        outcomes = reader.ranges((topics.dead_letters, topics.stream), since_ms)
        advanced = OffsetsRead(progress, frames, outcomes)
        book = TurnBook(
            {partition: committed.get(partition, offsets.start) for partition, offsets in frames.items()},
            max_event_bytes=settings.limits.max_event_bytes,
            skips=settings.events.nothing_to_judge == "skip",
            is_whole=looked_at == Bounds() and all(offsets.start == 0 for offsets in frames.values()),
            limit=limit,
        )
        try:
            for record in reader.read(frames, advanced):
                book.add_frame(record)
            add_outcomes(book, settings, isolation, outcomes, advanced)
            return book.close(tail_allowed=allow_tail)
        finally:
            book.free()
