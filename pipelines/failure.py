"""The dead letter of a record that could not be judged.

An unforeseen error is a bug of ours that this record has met. Raising it would stop the partition at this record for
ever, and its neighbours with it (P6). So it is logged as an error, and the record becomes a dead letter.
"""

import hashlib
import logging
from collections.abc import Sequence

from pipelines.guard import Judged
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import TerminalError, UnparsableOutputError
from schemas.reasons import Reason
from schemas.record import SourceRecord

log = logging.getLogger(__name__)


def failure_of(
    record: SourceRecord, error: Exception, judged: Sequence[Judged], text: str | None, group: str
) -> DeadLetter:
    """The dead letter of a record whose answers led to an error.

    Args:
        record: as consumed.
        error: what was raised.
        judged: the answers.
        text: of the last one that was looked at.
        group: consumer group.
    """
    output = text if isinstance(error, UnparsableOutputError) else None
    return dead_letter(
        record,
        terminal(error, record),
        group=group,
        attempts=max(item.attempts for item in judged),
        provenance=judged[0].provenance,
        raw_output_sha256=None if output is None else _digest(output),
    )


def terminal(error: Exception, record: SourceRecord) -> TerminalError:
    """What a record's dead letter says of an error.

    Raises:
        MemoryError: it is one.
    """
    if isinstance(error, TerminalError):
        return error
    if isinstance(error, MemoryError):
        raise error
    told = {"event": "internal_error", "error": type(error).__name__, "record_id": record.record_id}
    log.error("internal error: %s, record %s", told["error"], told["record_id"], exc_info=error, extra={"fields": told})
    return TerminalError(Reason.INTERNAL_ERROR, f"internal error: {type(error).__name__}")


def _digest(text: str) -> str:
    # Whatever was written, also lone surrogates: a digest must not be what stops a worker.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
