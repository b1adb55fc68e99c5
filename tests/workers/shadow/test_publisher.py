"""The producer of the shadow lane: nothing of it raises, blocks for long or grows, and every loss is counted."""

from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError
from kafka.future import Future

from schemas.shadow import Difference, ShadowDisagreement, ShadowOutcome
from tests.samples.verdict import VERDICT
from workers.shadow.publisher import MOST_UNACKNOWLEDGED, RETRY_S, ShadowPublisher

RECORD = ShadowDisagreement(
    event_id="e",
    source=VERDICT.source,
    differences=(Difference.OUTCOME,),
    live=ShadowOutcome(verdict=VERDICT, reason=None),
    candidate=ShadowOutcome(verdict=None, reason="unparsable_output"),
)


class Producer:
    """A producer whose answers the test gives."""

    def __init__(self, error: Exception | None = None) -> None:
        self.futures: list[Future] = []
        self.sent: list[tuple[Any, ...]] = []
        self.is_closed = False
        self._error = error

    def send(self, *arguments: Any) -> Future:
        self.sent.append(arguments)
        if self._error is not None:
            raise self._error
        self.futures.append(Future())
        return self.futures[-1]

    def flush(self, timeout: float) -> None:
        raise KafkaTimeoutError(timeout)

    def close_at_once(self, timeout_s: float) -> None:
        self.is_closed = bool(timeout_s)


class Site:
    """A publisher, the time, and the producers that it made."""

    def __init__(self, *producers: Producer) -> None:
        self.made: list[Producer] = []
        self.now = 0.0
        self._next = iter(producers)
        self.publisher: Any = ShadowPublisher(self._make, "shadow", lambda: self.now)

    def _make(self) -> Any:
        self.made.append(next(self._next))
        return self.made[-1]


def test_a_record_goes_out_with_its_event_id_as_key() -> None:
    site = Site(producer := Producer())

    assert site.publisher.send(RECORD)
    ((topic, value, key, headers),) = producer.sent
    assert (topic, key, headers) == ("shadow", b"e", [("content-type", b"application/json")])
    assert ShadowDisagreement.model_validate_json(value) == RECORD
    producer.futures[0].success(None)
    assert site.publisher.unpublished == 0


@pytest.mark.parametrize("error", [KafkaTimeoutError("no metadata"), ValueError("no partition"), OSError("down")])
def test_after_a_failure_nothing_is_tried_for_a_while_and_then_with_a_new_producer(error: Exception) -> None:
    site = Site(broken := Producer(error), Producer())

    assert [site.publisher.send(RECORD) for _ in range(5)] == [False] * 5
    assert (len(broken.sent), site.publisher.unpublished) == (1, 5)
    site.now += RETRY_S
    assert site.publisher.send(RECORD)
    assert broken.is_closed
    assert len(site.made) == 2


def test_a_record_that_the_broker_refuses_is_counted_and_ends_the_producer() -> None:
    site = Site(first := Producer(), Producer())
    site.publisher.send(RECORD)
    site.publisher.send(RECORD)
    first.futures[0].failure(TopicAuthorizationFailedError("shadow"))

    assert not site.publisher.send(RECORD)
    assert site.publisher.unpublished == 2
    site.now += RETRY_S
    assert site.publisher.send(RECORD)


def test_p9_what_the_broker_has_not_acknowledged_is_bounded() -> None:
    site = Site(producer := Producer())

    assert all(site.publisher.send(RECORD) for _ in range(MOST_UNACKNOWLEDGED))
    assert not site.publisher.send(RECORD)
    producer.futures[0].success(None)
    assert site.publisher.send(RECORD)
    assert site.publisher.unpublished == 1
    assert len(producer.sent) == MOST_UNACKNOWLEDGED + 1


def test_a_close_waits_for_nobody() -> None:
    site = Site(producer := Producer())
    site.publisher.send(RECORD)
    site.publisher.close()

    assert producer.is_closed
