"""What kafka-python's errors mean for us; the one place that sorts them, and those that others name.

Four kinds, and anything unknown is `HOLD`: keep the record, say so loudly, try again.
"""

from enum import Enum

from kafka import errors as kafka
from kafka.errors import ClusterAuthorizationFailedError as ClusterAuthorizationFailedError
from kafka.errors import InvalidRecordError as InvalidRecordError
from kafka.errors import KafkaError as KafkaError
from kafka.errors import KafkaTimeoutError as KafkaTimeoutError
from kafka.errors import TopicAuthorizationFailedError as TopicAuthorizationFailedError
from kafka.errors import UnknownError as UnknownError


class Meaning(Enum):
    """What to do about an error."""

    HOLD = "wait and try again"
    TOO_LARGE = "this one record is too large for its topic"
    NEW_PRODUCER = "this producer is finished, a new one may go on"
    LOST_MEMBERSHIP = "this member no longer owns its partitions"
    FATAL = "no retry can help: stop and say why"


_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
_NEW_PRODUCER = (
    kafka.IllegalStateError,
    kafka.InvalidProducerEpochError,
    kafka.OutOfOrderSequenceNumberError,
    kafka.ProducerFencedError,
    kafka.UnknownProducerIdError,
)
_LOST_MEMBERSHIP = (
    kafka.CommitFailedError,
    kafka.FencedMemberEpochError,
    kafka.IllegalGenerationError,
    kafka.RebalanceInProgressError,
    kafka.StaleMemberEpochError,
    kafka.UnknownMemberIdError,
)
_FATAL = (
    kafka.FencedInstanceIdError,
    kafka.InconsistentGroupProtocolError,
    kafka.KafkaConfigurationError,
    kafka.UnsupportedVersionError,
)


def meaning_of(error: BaseException) -> Meaning:
    """Sort one error raised by a client or carried by a future."""
    if isinstance(error, _TOO_LARGE):
        return Meaning.TOO_LARGE
    if isinstance(error, _NEW_PRODUCER):
        return Meaning.NEW_PRODUCER
    if isinstance(error, _LOST_MEMBERSHIP):
        return Meaning.LOST_MEMBERSHIP
    if isinstance(error, _FATAL):
        return Meaning.FATAL
    return Meaning.HOLD
