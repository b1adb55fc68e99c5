"""Makes the outcome that is published in place of one that is too large for its topic.

Does not publish it.
"""

import logging

from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import TerminalError
from schemas.reasons import Reason
from workers.stream.assignment import InFlightRecord
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)


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
