"""Reads input, verdict and dead-letter topics to the ends that they have now, and closes the ledger over them.

The ends are asked for in the order inputs, commits, outcomes: so every outcome that a commit stands on is read, while
the worker may go on working. Does not read the extra topics that a policy routes verdicts to.
"""

from collections.abc import Callable

from workers.settings import Settings
from workers.stream.ledger import Ledger, LedgerBook
from workers.stream.query_clients import TopicReader, kafka_faults

# Outcomes are stamped by our clock, inputs by their producers': outcomes are read from that much earlier.
CLOCK_SKEW_MS = 600_000
Progress = Callable[[int, int], None]


def verify(
    settings: Settings,
    *,
    since_ms: int | None = None,
    allow_tail: bool = False,
    limit: int = 20,
    progress: Progress = lambda _done, _total: None,
) -> Ledger:
    """The ledger of what the topics hold.

    Args:
        settings: topics, group and where Kafka is.
        since_ms: leave inputs out whose timestamp is before this, in milliseconds since the epoch.
        allow_tail: inputs that the group has not committed need no outcome.
        limit: violations listed of each kind.
        progress: called with the number of offsets read and their total.

    Raises:
        ModerationError: Kafka does not answer, or a topic is not there.
    """
    topics = settings.topics
    with kafka_faults(settings.kafka), TopicReader(settings.kafka, settings.kafka.group_id) as reader:
        inputs = reader.spans(topics.events, since_ms)
        committed = reader.committed(inputs)
        outcomes_since = None if since_ms is None else since_ms - CLOCK_SKEW_MS
        outcomes = reader.spans((topics.verdicts, topics.dead_letters), outcomes_since)
        book = LedgerBook(inputs, committed, limit=limit)
        spans = {**inputs, **outcomes}
        total = sum(span.end - span.start for span in spans.values())
        done = 0

        def advanced(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total)

        add = dict.fromkeys(topics.events, book.add_input)
        add |= {topics.verdicts: book.add_verdict, topics.dead_letters: book.add_dead_letter}
        for record in reader.read(spans, advanced):
            add[record.topic](record)
        book.forget_before(reader.first_offsets(inputs))
    return book.close(tail_allowed=allow_tail)
