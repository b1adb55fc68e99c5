"""The spans of a message (P11) as the conventions name them, at no cost where it is not sampled (P10)."""

from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.verdict_writer import VerdictText
from tests.stream.recorded_spans import SAMPLED, SPAN_ID, TRACE_ID, UNSAMPLED, Tracing, attributes, record
from tests.stream.sample_verdict import VERDICT_TEXT
from workers.stream.message_trace import MessageTrace


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Tracing:
    return Tracing(monkeypatch, ParentBased(ALWAYS_ON))


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def sent(message: MessageTrace, outcome: VerdictText | DeadLetter, topic: str) -> list[tuple[str, bytes]]:
    message.decided(outcome)
    return message.headers_of_send(topic)


def header_ids(headers: list[tuple[str, bytes]] | Mapping[str, str]) -> tuple[int, int]:
    value = dict(headers)["traceparent"]
    _, trace_id, span_id, _ = (value.decode() if isinstance(value, bytes) else value).split("-")
    return int(trace_id, 16), int(span_id, 16)


def test_p11_process_is_the_producer_s_child_and_send_is_process_s(tracing: Tracing) -> None:
    message = tracing.tracer().start(record(("traceparent", SAMPLED), ("tracestate", b"a=1")))
    headers = sent(message, VERDICT_TEXT, "out")
    message.end()
    process, send = tracing.spans()["process in"], tracing.spans()["send out"]

    assert (process.kind, send.kind) == (SpanKind.CONSUMER, SpanKind.PRODUCER)
    assert process.parent is not None
    assert send.parent is not None
    assert (process.parent.trace_id, process.parent.span_id) == (int(TRACE_ID, 16), int(SPAN_ID, 16))
    assert (send.parent.trace_id, send.parent.span_id) == ids(process)
    assert header_ids(headers) == ids(send)
    assert dict(headers)["tracestate"] == b"a=1"
    assert header_ids(message.carrier) == ids(process)
    assert message.context is not None
    assert message.context.span_id == ids(process)[1]


def test_p11_attributes_are_those_of_the_conventions(tracing: Tracing) -> None:
    message = tracing.tracer().start(record(("traceparent", SAMPLED)))
    sent(message, VERDICT_TEXT, "out")
    message.end()

    assert attributes(tracing.spans()["process in"]) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "weir",
        "messaging.destination.name": "in",
        "messaging.destination.partition.id": "5",
        "messaging.kafka.offset": 9,
        "moderation.severity": "Unsafe",
        "moderation.action": "block",
        "moderation.verdict_id": "v1",
    }
    assert attributes(tracing.spans()["send out"]) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "out",
    }


def test_p11_in_link_mode_process_is_a_root_that_links_to_the_producer(tracing: Tracing) -> None:
    message = tracing.tracer(as_child=False).start(record(("traceparent", SAMPLED)))
    message.end()
    process = tracing.spans()["process in"]

    assert process.parent is None
    assert ids(process)[0] != int(TRACE_ID, 16)
    assert [(link.context.trace_id, link.context.span_id) for link in process.links] == [
        (int(TRACE_ID, 16), int(SPAN_ID, 16))
    ]


@pytest.mark.parametrize("flags", [b"00", b"02"])
@pytest.mark.parametrize("as_child", [True, False])
def test_p11_an_unsampled_parent_costs_no_span_and_its_headers_are_passed_on(
    tracing: Tracing, flags: bytes, as_child: bool
) -> None:
    incoming = (("traceparent", UNSAMPLED[:-2] + flags), ("tracestate", b"a=1"))
    tracer = tracing.tracer(as_child=as_child)
    message = tracer.start(record(*incoming))
    message.add_batch({"traceparent": SAMPLED.decode()}, 1, 2)
    headers = sent(message, VERDICT_TEXT, "out")
    tracer.polled(1, [record()], [message])
    message.end()

    assert headers == list(incoming)
    assert message.carrier == {}
    assert message.context is None
    assert tracing.created == 0


def test_p11_where_the_sampler_does_not_follow_the_parent_an_unsampled_one_is_traced(tracing: Tracing) -> None:
    message = tracing.tracer(parent_decides=False).start(record(("traceparent", UNSAMPLED)))

    assert tracing.created == 1
    message.end()


def test_p11_switched_off_nothing_is_created_and_headers_are_passed_on(tracing: Tracing) -> None:
    message = tracing.tracer(enabled=False).start(record(("traceparent", SAMPLED)))

    assert sent(message, VERDICT_TEXT, "out") == [("traceparent", SAMPLED)]
    assert tracing.created == 0


def test_p11_a_message_without_a_producer_s_span_starts_a_trace_of_its_own(tracing: Tracing) -> None:
    message = tracing.tracer().start(record())
    message.end()

    assert tracing.spans()["process in"].parent is None


def test_p11_a_root_that_the_sampler_refuses_costs_nothing_further(monkeypatch: pytest.MonkeyPatch) -> None:
    tracing = Tracing(monkeypatch, ParentBased(ALWAYS_OFF))
    message = tracing.tracer().start(record())

    assert sent(message, VERDICT_TEXT, "out") == []
    assert (message.context, tracing.created, tracing.spans()) == (None, 1, {})


@pytest.mark.parametrize("broken", [b"", b"\xff\xfe", b"garbage-00", b"00-zz-yy-01", SAMPLED + b"0" * 5000])
def test_p11_a_broken_trace_header_starts_a_new_trace_and_harms_nothing(tracing: Tracing, broken: bytes) -> None:
    message = tracing.tracer().start(record(("traceparent", broken)))
    headers = sent(message, VERDICT_TEXT, "out")
    message.end()

    assert tracing.spans()["process in"].parent is None
    assert header_ids(headers) == ids(tracing.spans()["send out"])


def test_p11_the_batch_that_a_message_rode_in_is_linked_with_its_times(tracing: Tracing) -> None:
    message = tracing.tracer().start(record())
    message.add_batch({"traceparent": SAMPLED.decode()}, 1.5, 2.5)
    message.add_batch({}, 0, 0)
    message.add_batch({"traceparent": "nonsense"}, 0, 0)
    message.end()
    (link,) = tracing.spans()["process in"].links

    assert (link.context.trace_id, link.context.span_id) == (int(TRACE_ID, 16), int(SPAN_ID, 16))
    assert dict(link.attributes or {}) == {"moderation.queue_ms": 1.5, "moderation.guard_ms": 2.5}


def test_p11_a_dead_letter_marks_the_span_as_an_error_by_its_reason(tracing: Tracing) -> None:
    letter = dead_letter(record(), EventError(Reason.INVALID_JSON, "at 3"), group="weir")
    message = tracing.tracer().start(record())
    sent(message, letter, "dlq")
    message.end()
    process = tracing.spans()["process in"]

    assert (process.status.status_code, process.status.description) == (StatusCode.ERROR, "invalid_json")
    assert attributes(process)["error.type"] == "invalid_json"
    assert attributes(process)["moderation.stage"] == "decode"


def test_p11_a_second_attempt_to_send_ends_the_first_one_s_span(tracing: Tracing) -> None:
    message = tracing.tracer().start(record())
    first = header_ids(sent(message, VERDICT_TEXT, "out"))
    second = header_ids(sent(message, VERDICT_TEXT, "again"))
    message.end()
    spans = tracing.spans()

    assert (ids(spans["send out"]), ids(spans["send again"])) == (first, second)
    assert set(spans) == {"process in", "send out", "send again"}


def test_p10_no_span_holds_key_text_or_detail(tracing: Tracing) -> None:
    tracer = tracing.tracer()
    letter = dead_letter(record(), EventError(Reason.INVALID_JSON, "private detail"), group="weir")
    messages: list[MessageTrace] = [tracer.start(record()), tracer.start(record())]
    sent(messages[0], VERDICT_TEXT, "out")
    sent(messages[1], letter, "dlq")
    for message in messages:
        message.end()
    tracer.polled(1, [record(), record()], messages)

    assert tracing.spans()
    assert not [span.name for span in tracing.spans().values() if "private" in span.to_json()]
