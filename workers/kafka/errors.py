"""kafka-python's errors: those that other rooms name, what each means for us, and one line of ours in place of them.

There are four meanings. Anything unknown is `HOLD`: keep the record, log it as an error, try again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from kafka import errors as kafka
from kafka.errors import (
    ClusterAuthorizationFailedError,
    CommitFailedError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    InvalidRecordError,
    KafkaError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
    TransactionalIdNotFoundError,
    UnknownError,
    UnknownTopicOrPartitionError,
)

from schemas.errors import ModerationError
from workers.settings.sections import KafkaSettings

__all__ = [
    "ClusterAuthorizationFailedError",
    "CommitFailedError",
    "CoordinatorNotAvailableError",
    "GroupAuthorizationFailedError",
    "InvalidRecordError",
    "KafkaError",
    "KafkaTimeoutError",
    "Meaning",
    "TopicAuthorizationFailedError",
    "TransactionalIdAuthorizationFailedError",
    "TransactionalIdNotFoundError",
    "UnknownError",
    "UnknownTopicOrPartitionError",
    "fault_of",
    "first_line",
    "kafka_faults",
    "meaning_of",
]


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


def fault_of(error: BaseException) -> dict[str, str]:
    """What a log line says of an error: its kind, and the topic that a producer has waited for in vain."""
    said = {"error": type(error).__name__}
    topic = getattr(error, "topic", None)
    return said if topic is None else {**said, "topic": topic}


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


@contextmanager
def kafka_faults(settings: KafkaSettings) -> Iterator[None]:
    """Turn a client's error into one line of ours.

    Raises:
        ModerationError: names the servers and what they, or the client, said.
    """
    try:
        yield
    except KafkaTimeoutError as error:
        raise ModerationError(
            f"kafka.bootstrap_servers={settings.bootstrap_servers}: no answer in time over"
            f" {settings.security_protocol} ({first_line(error)}); `weir check` looks closer"
        ) from None
    except KafkaError as error:
        raise ModerationError(f"Kafka at {settings.bootstrap_servers}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """What an error says, on one line of bounded length."""
    return str(error).partition("\n")[0][:300]
