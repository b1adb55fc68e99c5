"""Reads input, outcome and extra topics up to their present ends, and closes the ledger over them.

The ends are asked for in the order inputs, commits, outcomes. So every outcome behind a commit is read, although the
worker may go on working. Transactions that are open at those ends are waited for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.guard_parser import Classification
from pipelines.policy import Policy, load_policy
from schemas.errors import ConfigurationError, EventError
from schemas.event import decode_event
from schemas.reasons import NOTHING_TO_JUDGE
from schemas.record import Partition, SourceRecord
from schemas.verdict import Verdict
from workers.kafka.errors import kafka_faults
from workers.kafka.producer import TRANSACTION_TIMEOUT_MS
from workers.kafka.reader import STALL_S, Isolation, OffsetRange, OffsetRanges, OffsetsRead, Progress, TopicReader
from workers.settings.loading import Settings
from workers.tools.verify.ledger import Ledger, LedgerBook, Routes

# Outcomes are stamped by our clock, inputs by their producers': outcomes are read from that much earlier.
CLOCK_SKEW_MS = 600_000
# The broker ends a transaction that a dead worker has left open, a little after its time is over.
TRANSACTION_PATIENCE_S = TRANSACTION_TIMEOUT_MS / 1_000 + STALL_S
NamedPartition = tuple[str | None, int]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which inputs are looked at; all without bounds.

    Attributes:
        since_ms: from the first record of that time or later, in milliseconds since the epoch.
        until_ms: up to, not including, the first record of that time or later.
        start: from that offset, by topic and partition; topic None stands for the only input topic.
        end: up to, not including, that offset. Partitions that are not named have no such bound.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    start: Mapping[NamedPartition, int] = field(default_factory=dict)
    end: Mapping[NamedPartition, int] = field(default_factory=dict)

    def cut(self, held: OffsetRanges) -> dict[Partition, OffsetRange]:
        """Of what the input topics hold the part between the offsets.

        Raises:
            ConfigurationError: no such partition, or there are several of that number.
        """
        starts, ends = _named(self.start, held), _named(self.end, held)
        cut = {}
        for partition, (first, last) in held.items():
            start = min(max(first, starts.get(partition, first)), last)
            cut[partition] = OffsetRange(start, max(start, min(last, ends.get(partition, last))))
        return cut


def verify(
    settings: Settings,
    bounds: Bounds | None = None,
    *,
    isolation: Isolation = "read_committed",
    allow_tail: bool = False,
    once: bool = False,
    limit: int = 20,
    progress: Progress = lambda _done, _total: None,
) -> Ledger:
    """The ledger of what the topics hold.

    Args:
        settings: topics, group, policy and where Kafka is.
        bounds: which inputs; their outcomes are looked for up to the ends of the topics.
        isolation: of outcomes; of inputs only committed ones count, which are what the worker reads.
        allow_tail: inputs that the group has not committed need no outcome.
        once: copies and second judgements are violations.
        limit: violations listed of each kind.
        progress: called with the number of offsets read and their total.

    Raises:
        ConfigurationError: the policy file is wrong, or a bound names no input partition.
        ModerationError: Kafka does not answer, a topic is not there, or a transaction stays open.
    """
    topics, kafka, looked_at = settings.topics, settings.kafka, bounds or Bounds()
    policy = load_policy(settings.policy.file)
    # Inputs as the worker reads them: what an aborted transaction wrote was never said, and needs no outcome.
    with kafka_faults(kafka), TopicReader(kafka, kafka.group_id, "read_committed") as reader:
        inputs = looked_at.cut(reader.ranges(topics.events, looked_at.since_ms, looked_at.until_ms))
        committed = reader.committed(inputs)
        since_ms = None if looked_at.since_ms is None else max(0, looked_at.since_ms - CLOCK_SKEW_MS)
        with TopicReader(kafka) as any_end:
            # Beyond open transactions, too: a commit may belong to one whose outcomes show in a moment.
            outcomes = any_end.ranges((topics.verdicts, topics.dead_letters, *policy.topics), since_ms)
            first = any_end.first_offsets(outcomes)
        removed = sum(first[partition] for partition, held in outcomes.items() if held.start == first[partition])
        advanced = OffsetsRead(progress, inputs, outcomes)
        book = LedgerBook(
            inputs,
            committed,
            limit=limit,
            once=once,
            extra_topics=policy.topics,
            routes=_routes(policy),
            skips=_skips(settings),
        )
        try:
            for record in reader.read(inputs, advanced):
                book.add_input(record)
            add_outcomes(book, settings, isolation, outcomes, advanced)
            book.forget_before(reader.first_offsets(inputs))
            return book.close(tail_allowed=allow_tail, removed=removed)
        finally:
            book.free()


class OutcomeBook(Protocol):
    """What takes in outcomes."""

    def add_verdict(self, record: SourceRecord) -> None: ...

    def add_dead_letter(self, record: SourceRecord) -> None: ...


def add_outcomes(
    book: OutcomeBook, settings: Settings, isolation: Isolation, outcomes: OffsetRanges, progress: OffsetsRead
) -> None:
    """Read outcomes into a book; transactions that are open at their ends are waited for."""
    with TopicReader(settings.kafka, None, isolation) as reader:
        for record in reader.read(outcomes, progress, TRANSACTION_PATIENCE_S):
            if record.topic == settings.topics.dead_letters:
                book.add_dead_letter(record)
            else:
                book.add_verdict(record)


def _named(offsets: Mapping[NamedPartition, int], held: OffsetRanges) -> dict[Partition, int]:
    named = {}
    for (topic, number), offset in offsets.items():
        found = [partition for partition in held if partition.number == number and topic in (None, partition.topic)]
        if len(found) != 1:
            fault = "of several topics; say TOPIC:PARTITION:OFFSET" if found else "not of an input topic"
            raise ConfigurationError(f"partition {number if topic is None else f'{topic}-{number}'}: {fault}")
        named[found[0]] = offset
    return named


def _skips(settings: Settings) -> Callable[[SourceRecord], bool]:
    """Whether a record needs no outcome, which it alone decides."""

    def skips(record: SourceRecord) -> bool:
        try:
            decode_event(record, settings.limits.max_event_bytes)
        except EventError as error:
            return error.reason in NOTHING_TO_JUDGE
        return False

    return skips if settings.events.nothing_to_judge == "skip" else lambda _record: False


def _routes(policy: Policy) -> Routes:
    """Where the policy of today sends a verdict; nothing is known of those that another policy made."""

    def routes(verdict: Verdict) -> tuple[str, ...]:
        if verdict.policy.sha256 != policy.sha256:
            return ()
        classification = Classification(verdict.severity, verdict.categories, verdict.refusal)
        return policy.decide(classification, verdict.tenant).topics

    return routes
