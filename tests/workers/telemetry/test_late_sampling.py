"""Dead letters, verdicts that are not Safe and slow messages are traced, whatever their producer decided (P11)."""

import pytest

from schemas.dead_letter import dead_letter
from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.verdict import Severity
from tests.samples.verdict import VERDICT_TEXT
from tests.workers.telemetry.recorded_spans import (
    POLLED_NS,
    SAMPLED,
    SPAN_ID,
    TRACE_ID,
    UNSAMPLED,
    Consumer,
    attributes,
    record,
)
from workers.telemetry.message_sampling import LateSampling

ALL = ("dead_letter", "not_safe", "slow")
SAFE = VERDICT_TEXT._replace(severity=Severity.SAFE)
CONTROVERSIAL = VERDICT_TEXT._replace(severity=Severity.CONTROVERSIAL)
LETTER = dead_letter(record(), EventError(Reason.INVALID_JSON, "at 3"), group="weir")
S = 10**9


@pytest.mark.parametrize(
    ("ends", "outcome", "took_ns", "why"),
    [
        (ALL, SAFE, S - 1, None),
        (ALL, SAFE, S, "slow"),
        (ALL, CONTROVERSIAL, 0, "not_safe"),
        (ALL, VERDICT_TEXT, 0, "not_safe"),
        (ALL, LETTER, 0, "dead_letter"),
        ((), LETTER, S, None),
        ((), VERDICT_TEXT, S, None),
        (("slow",), LETTER, S, "slow"),
        (("dead_letter",), VERDICT_TEXT, S, None),
    ],
)
def test_p11_the_rule(ends: tuple[str, ...], outcome: object, took_ns: int, why: str | None) -> None:
    assert LateSampling(ends, 1.0).why(outcome, took_ns) == why  # type: ignore[arg-type]


@pytest.mark.parametrize("as_child", [True, False])
def test_p11_an_unsampled_message_that_ends_so_is_traced_from_its_poll_on(as_child: bool) -> None:
    consumer = Consumer(as_child=as_child, always=ALL)
    message = consumer.start(("traceparent", UNSAMPLED), ("tracestate", b"a=1"))
    assert not message.is_sampled
    consumer.tracer.decided(message, record(), LETTER, POLLED_NS)
    assert message.is_sampled
    headers = dict(message.headers_of_send("dlq"))
    consumer.tracer.acknowledged([message])
    process = consumer.spans()["process in"]

    assert (process.start_time, attributes(process)["moderation.sampled_for"]) == (POLLED_NS, "dead_letter")
    creation = process.parent if as_child else process.links[0].context
    assert creation is not None
    assert (creation.trace_id, creation.span_id) == (int(TRACE_ID, 16), int(SPAN_ID, 16))
    create = consumer.spans()["create dlq"].context
    assert create is not None
    assert headers["traceparent"] == f"00-{create.trace_id:032x}-{create.span_id:016x}-".encode() + (
        b"01" if as_child else b"03"
    )


@pytest.mark.parametrize("headers", [UNSAMPLED, SAMPLED])
def test_p11_a_verdict_that_gives_way_to_a_dead_letter_is_traced_as_that(headers: bytes) -> None:
    consumer = Consumer(always=ALL)
    message = consumer.start(("traceparent", headers))
    consumer.tracer.decided(message, record(), LETTER, POLLED_NS)
    consumer.tracer.acknowledged([message])
    told = attributes(consumer.spans()["process in"])

    assert told["error.type"] == str(LETTER.reason)
    assert told.get("moderation.sampled_for") == (None if headers == SAMPLED else "dead_letter")


def test_p11_one_without_a_trace_begins_its_own_and_one_that_ends_well_stays_without() -> None:
    consumer = Consumer(always=ALL)
    letter, verdict = consumer.start(("traceparent", UNSAMPLED)), consumer.start(("traceparent", UNSAMPLED))
    letter.incoming = ()
    consumer.tracer.decided(letter, record(), LETTER, POLLED_NS)
    consumer.tracer.decided(verdict, record(), SAFE, POLLED_NS)
    consumer.tracer.acknowledged([letter, verdict])

    assert not verdict.is_sampled
    (process,) = consumer.finished("process in")
    assert process.parent is None
