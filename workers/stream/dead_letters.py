"""What an outcome becomes that is no verdict, or is too large for its topic.

A verdict's own bytes are few; what makes one large comes from the producer, and never costs it its severity: it loses
its key. What a topic has refused is remembered, so that the next such outcome does not fail together with its
neighbours: a producer that fails one record fails all that are queued behind it. Does not publish.
"""

import logging
import time
from collections.abc import Sequence

from pipelines.moderation import Ruling
from schemas.dead_letter import TRACE_HEADERS, DeadLetter, dead_letter
from schemas.errors import TerminalError
from schemas.reasons import Reason
from schemas.record import OutputRecord
from workers.stream.assignment import InFlightRecord
from workers.telemetry.log import log_event
from workers.telemetry.message_trace import StreamTracer
from workers.telemetry.span_encoding import names_a_span

log = logging.getLogger(__name__)
PROPORTIONATE = 65_536  # bytes: more than any verdict without its key, so what is larger may be blamed unproven
_SMALL_KEY = 256  # bytes, never the cause


def letter_record(
    letter: DeadLetter, topic: str, trace_headers: list[tuple[str, bytes]], partitions: int
) -> OutputRecord:
    """The record to produce; copies of a letter share a partition, which their source's chooses.

    Args:
        letter: the dead letter.
        topic: that of dead letters.
        trace_headers: W3C trace context of the send span, for a letter without any.
        partitions: of the topic.
    """
    headers = letter.record_headers
    parents = [value for name, value in headers if name == "traceparent"]
    if not parents or not names_a_span(parents[-1]):  # the last of a name counts
        headers += [(name, text) for name, text in trace_headers if name in TRACE_HEADERS]  # baggage it has
    value = b"" if letter.value is None and letter.key is None else letter.value
    return OutputRecord(topic, letter.source.partition % partitions, letter.key, value, headers)


def without_value(letter: DeadLetter) -> DeadLetter:
    """The pointer form of a dead letter: source and reason without the original's value and headers.

    Of one that has this form already, the key goes too.
    """
    if letter.value_dropped:
        return letter.model_copy(update={"key": None})
    return letter.model_copy(update={"value": b"", "headers": (), "value_dropped": True})


class TooLarge:
    """What has been refused for its size, by one publisher.

    Args:
        group: consumer group, named in dead letters.
        tracer: told of a record whose outcome had to give way.

    Attributes:
        most: bytes that are tried of dead letters (True) and of verdicts, where any were refused.
    """

    def __init__(self, group: str, tracer: StreamTracer) -> None:
        self._group = group
        self._tracer = tracer
        self.most: dict[bool, float] = {}

    def suspect(self, batch: Sequence[InFlightRecord]) -> InFlightRecord | None:
        """The largest of some outcomes of which one was refused; None where it is not out of proportion."""
        largest = max(batch, key=_size_of)
        return largest if _size_of(largest) > PROPORTIONATE else None

    def give_way(self, item: InFlightRecord) -> bool:
        """Make an outcome that was refused smaller, and remember its size; False where it cannot be."""
        if (size := _size_of(item)) > PROPORTIONATE:
            kind = _is_letter(item)
            # Less than was refused: a producer that sends one byte less each time soon meets the limit itself.
            self.most[kind] = min(self.most.get(kind, size), size * 15 // 16)
        return self._shrink(item)

    def fit(self, batch: Sequence[InFlightRecord]) -> None:
        """Make those smaller that would be refused."""
        for item in batch:
            while _size_of(item) > self.most.get(_is_letter(item), float("inf")) and self._shrink(item):
                pass

    def _shrink(self, item: InFlightRecord) -> bool:
        """A verdict loses its key, then its place to a dead letter; a dead letter its value, then its key."""
        assert item.ruling is not None
        outcome = item.ruling.outcome
        if isinstance(outcome, DeadLetter):
            smaller = without_value(outcome)
            if smaller == outcome:
                return False
            log.warning(log_event("dead_letter_value_dropped", **item.log_fields, key=smaller.key is None))
        elif len(item.record.key or b"") > _SMALL_KEY:
            item.record = item.record._replace(key=None)
            log.warning(log_event("verdict_key_dropped", **item.log_fields))
            return True
        else:
            error = TerminalError(Reason.VERDICT_TOO_LARGE, "the verdict is larger than its topic allows")
            smaller = dead_letter(item.record, error, group=self._group, provenance=outcome.provenance)
        item.ruling = Ruling(smaller)
        self._tracer.decided(item.trace, item.record, smaller, time.time_ns())
        return True


def _is_letter(item: InFlightRecord) -> bool:
    return item.ruling is not None and isinstance(item.ruling.outcome, DeadLetter)


def _size_of(item: InFlightRecord) -> int:
    """Bytes of an outcome's record, without what is ours and small; none of what is skipped."""
    if item.ruling is None:
        return 0
    outcome = item.ruling.outcome
    if not isinstance(outcome, DeadLetter):
        return len(outcome.value) + len(item.record.key or b"")
    headers = sum(len(name) + len(value or b"") for name, value in outcome.headers)
    return len(outcome.value or b"") + len(outcome.key or b"") + headers
