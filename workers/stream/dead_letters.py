"""Dead letters on their way out: the record of one, and the one that replaces an outcome too large for its topic.

Does not publish them.
"""

import logging

from schemas.dead_letter import TRACE_HEADERS, DeadLetter, dead_letter
from schemas.errors import TerminalError
from schemas.reasons import Reason
from schemas.record import OutputRecord
from workers.stream.assignment import InFlightRecord
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)


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
    if not any(name in TRACE_HEADERS for name, _ in headers):
        headers += [(name, text) for name, text in trace_headers if name in TRACE_HEADERS]  # baggage it has
    value = b"" if letter.value is None and letter.key is None else letter.value
    return OutputRecord(topic, letter.source.partition % partitions, letter.key, value, headers)


def smaller_outcome(item: InFlightRecord, group: str) -> DeadLetter | None:
    """An outcome that fits better: a dead letter for a verdict, one without its value, one without its key.

    Args:
        item: a record whose outcome is too large for its topic.
        group: consumer group, named in dead letters.
    """
    assert item.ruling is not None
    outcome = item.ruling.outcome
    if not isinstance(outcome, DeadLetter):
        error = TerminalError(Reason.VERDICT_TOO_LARGE, "the verdict is larger than its topic allows")
        return dead_letter(item.record, error, group=group, provenance=outcome.provenance)
    smaller = without_value(outcome)
    if smaller == outcome:
        return None
    log.warning(log_event("dead_letter_value_dropped", **item.log_fields, key=smaller.key is None))
    return smaller


def without_value(letter: DeadLetter) -> DeadLetter:
    """The pointer form of a dead letter: source and reason without the original's value and headers.

    Of one that has this form already, the key goes too.
    """
    if letter.value_dropped:
        return letter.model_copy(update={"key": None})
    return letter.model_copy(update={"value": b"", "headers": (), "value_dropped": True})
