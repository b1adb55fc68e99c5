"""What each error of kafka-python means; a class that a new version brings has to be sorted by someone who read it."""

import inspect

import pytest
from kafka import errors
from kafka.errors import KafkaError

from workers.kafka.errors import Meaning, meaning_of

IMPORTANT = {
    Meaning.TOO_LARGE: ["MessageSizeTooLargeError", "RecordListTooLargeError"],
    Meaning.NEW_PRODUCER: [
        "IllegalStateError",
        "InvalidProducerEpochError",
        "OutOfOrderSequenceNumberError",
        "ProducerFencedError",
        "UnknownProducerIdError",
    ],
    Meaning.LOST_MEMBERSHIP: [
        "CommitFailedError",
        "FencedMemberEpochError",
        "IllegalGenerationError",
        "RebalanceInProgressError",
        "StaleMemberEpochError",
        "UnknownMemberIdError",
    ],
    Meaning.FATAL: [
        "FencedInstanceIdError",
        "IncompatibleBrokerVersion",
        "InconsistentGroupProtocolError",
        "KafkaConfigurationError",
        "UnsupportedVersionError",
    ],
}
# Not retriable in the client's own opinion, and held by us all the same: access may be granted, a topic created, a
# password turned, while a record that is given up is gone.
HELD_THOUGH_NOT_RETRIABLE = set(
    """
    AuthorizationError BrokerIdNotRegisteredError BrokerNotAvailableError BrokerResponseError
    ClusterAuthorizationFailedError CorruptRecordError DelegationTokenAuthDisabledError
    DelegationTokenAuthorizationFailedError DelegationTokenExpiredError DelegationTokenNotFoundError
    DelegationTokenOwnerMismatchError DelegationTokenRequestNotAllowedError DuplicateBrokerRegistrationError
    DuplicateResourceError DuplicateSequenceNumberError DuplicateVoterError FeatureUpdateFailedError
    FencedStateEpochError GroupAuthorizationFailedError GroupIdNotFoundError
    GroupMaxSizeReachedError GroupSubscribedToTopicError IllegalArgumentError IllegalSaslStateError
    InconsistentClusterIdError InconsistentVoterSetError IneligibleReplicaError InvalidCommitOffsetSizeError
    InvalidConfigurationError InvalidFetchRequestError InvalidGroupIdError InvalidPartitionsError
    InvalidPrincipalTypeError InvalidProducerIdMappingError InvalidReceiveError InvalidRecordError
    InvalidRecordStateError InvalidRegistrationError InvalidReplicationAssignmentError
    InvalidReplicationFactorError InvalidRequestError InvalidRequiredAcksError InvalidSessionTimeoutError
    InvalidTimestampError InvalidTopicError InvalidTransactionTimeoutError InvalidTxnStateError
    InvalidUpdateVersionError InvalidVoterKeyError KafkaError KafkaProtocolError LogDirNotFoundError LogTruncationError
    MemberIdRequiredError MismatchedEndpointTypeError NewLeaderElectedError NoError NoOffsetForPartitionError
    NoReassignmentInProgressError NonEmptyGroupError OffsetMetadataTooLargeError OffsetMovedToTieredStorageError
    OffsetOutOfRangeError OperationNotAttemptedError PolicyViolationError PositionOutOfRangeError
    PrincipalDeserializationFailureError QuotaViolationError ReassignmentInProgressError RecordTooLargeError
    ResourceNotFoundError SaslAuthenticationFailedError SecurityDisabledError SnapshotNotFoundError
    StaleBrokerEpochError StaleControllerEpochError TelemetryTooLargeError TopicAlreadyExistsError
    TopicAuthorizationFailedError TopicDeletionDisabledError TransactionAbortableError TransactionAbortedError
    TransactionCoordinatorFencedError TransactionalIdAuthorizationFailedError TransactionalIdNotFoundError
    UnacceptableCredentialError UnknownBrokerIdError UnknownControllerIdError UnknownError UnknownSubscriptionIdError
    UnrecognizedBrokerVersion UnreleasedInstanceIdError UnsupportedAssignorError UnsupportedCodecError
    UnsupportedCompressionTypeError UnsupportedEndpointTypeError UnsupportedForMessageFormatError
    UnsupportedSaslMechanismError VoterNotFoundError
    """.split()  # noqa: SIM905 - ninety lines would read worse
)


def all_errors() -> dict[str, type[KafkaError]]:
    """Every error class of the installed client, by name."""
    found: dict[str, type[KafkaError]] = {}
    left: list[type[KafkaError]] = [KafkaError]
    while left:
        kind = left.pop()
        found[kind.__name__] = kind
        left += kind.__subclasses__()
    return {name: kind for name, kind in found.items() if kind.__module__.startswith("kafka.")}


def bare(kind: type[KafkaError]) -> KafkaError:
    """An instance without its constructor, which some give arguments to: what counts is the class."""
    return BaseException.__new__(kind)


def sorted_out() -> dict[str, Meaning]:
    return {name: meaning for meaning, names in IMPORTANT.items() for name in names}


@pytest.mark.parametrize(("name", "meaning"), sorted_out().items())
def test_p5_an_important_error_means_what_the_table_says(name: str, meaning: Meaning) -> None:
    kind = getattr(errors, name)

    assert meaning_of(kind()) is meaning


@pytest.mark.parametrize("name", sorted(all_errors()))
def test_p5_every_other_error_of_the_client_holds_and_is_known_to_us(name: str) -> None:
    kind = all_errors()[name]
    if name in sorted_out():
        return
    known = kind.retriable or name in HELD_THOUGH_NOT_RETRIABLE

    assert known, f"{name} is new: say in workers.kafka.errors what it means, or add it to the held ones here"
    assert meaning_of(bare(kind)) is Meaning.HOLD


def test_p5_no_error_that_the_client_calls_retriable_ends_anything() -> None:
    ending = {Meaning.FATAL, Meaning.TOO_LARGE, Meaning.LOST_MEMBERSHIP}
    found = [name for name, kind in all_errors().items() if kind.retriable and meaning_of(bare(kind)) in ending]

    assert found == []


@pytest.mark.parametrize("error", [RuntimeError("?"), ValueError("?"), OSError("?"), Exception("?"), TimeoutError()])
def test_p5_an_unknown_error_holds(error: Exception) -> None:
    assert meaning_of(error) is Meaning.HOLD


def test_p5_an_error_class_of_tomorrow_holds() -> None:
    tomorrow = type("TomorrowError", (errors.BrokerResponseError,), {"errno": 9999})

    assert meaning_of(tomorrow()) is Meaning.HOLD


def test_the_lists_name_only_classes_that_exist() -> None:
    existing = {*all_errors(), *(name for name, kind in vars(errors).items() if inspect.isclass(kind))}

    assert set(sorted_out()) | HELD_THOUGH_NOT_RETRIABLE <= existing | {"RecordTooLargeError"}
    assert not set(sorted_out()) & HELD_THOUGH_NOT_RETRIABLE
