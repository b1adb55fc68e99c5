"""Dead letters on their way out: the record of one, and its pointer form.

Does not publish them.
"""

from schemas.dead_letter import TRACE_HEADERS, DeadLetter
from schemas.record import OutputRecord


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


def without_value(letter: DeadLetter) -> DeadLetter:
    """The pointer form of a dead letter: source and reason without the original's value and headers.

    Of one that has this form already, the key goes too.
    """
    if letter.value_dropped:
        return letter.model_copy(update={"key": None})
    return letter.model_copy(update={"value": b"", "headers": (), "value_dropped": True})
