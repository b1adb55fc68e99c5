"""The spans of a message (P11) as the conventions name them, at no cost where it is not sampled (P10)."""

from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from pipelines.guard import GuardAnswer, Judged
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import EventError, ItemError
from schemas.reasons import Reason
from schemas.verdict_writer import VerdictText
from tests.samples.verdict import VERDICT, VERDICT_TEXT
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
from workers.telemetry.message_trace import MessageTrace
from workers.telemetry.span_encoding import MAX_LINKS, SpanContext

PRODUCER = (int(TRACE_ID, 16), int(SPAN_ID, 16))


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def sent(message: MessageTrace, outcome: VerdictText | DeadLetter, topic: str) -> list[tuple[str, bytes]]:
    if message.spans is not None:
        message.spans.decided(outcome)
    return message.headers_of_send(topic)


def header_ids(headers: list[tuple[str, bytes]] | Mapping[str, str]) -> tuple[int, int]:
    value = dict(headers)["traceparent"]
    _, trace_id, span_id, flags = (value.decode() if isinstance(value, bytes) else value).split("-")
    assert int(flags, 16) & 1
    return int(trace_id, 16), int(span_id, 16)


def judged(carrier: dict[str, str], queue_ms: float, guard_ms: float) -> Judged:
    return Judged(GuardAnswer("", None, None, 1, 1, True, carrier, queue_ms, guard_ms), VERDICT.provenance, 1)


def test_p11_process_is_the_producer_s_child_and_create_is_process_s() -> None:
    consumer = Consumer()
    message = consumer.start(("traceparent", SAMPLED), ("tracestate", b"a=1"))
    headers = sent(message, VERDICT_TEXT, "out")
    carrier = message.carrier
    message.end()
    process, create = consumer.spans()["process in"], consumer.spans()["create out"]

    assert (process.kind, create.kind) == (SpanKind.CONSUMER, SpanKind.PRODUCER)
    assert process.parent is not None
    assert create.parent is not None
    assert (process.parent.trace_id, process.parent.span_id) == PRODUCER
    assert (process.parent.is_remote, create.parent.is_remote) == (True, False)
    assert (create.parent.trace_id, create.parent.span_id) == ids(process)
    assert header_ids(headers) == ids(create)
    assert dict(headers)["tracestate"] == b"a=1"
    assert process.context is not None
    assert process.context.trace_state.to_header() == "a=1"
    assert header_ids(carrier) == ids(process)
    assert (process.start_time, create.start_time) == (POLLED_NS, create.end_time)
    assert POLLED_NS < (create.end_time or 0) <= (process.end_time or 0)


def test_p11_attributes_are_those_of_the_conventions() -> None:
    consumer = Consumer()
    message = consumer.start(("traceparent", SAMPLED))
    sent(message, VERDICT_TEXT, "out")
    message.end()

    assert attributes(consumer.spans()["process in"]) == {
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
    assert attributes(consumer.spans()["create out"]) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "out",
    }


def test_p11_in_link_mode_process_is_a_root_that_links_to_the_producer() -> None:
    consumer = Consumer(as_child=False)
    consumer.start(("traceparent", SAMPLED)).end()
    process = consumer.spans()["process in"]

    assert process.parent is None
    assert ids(process)[0] != PRODUCER[0]
    assert [(link.context.trace_id, link.context.span_id) for link in process.links] == [PRODUCER]


@pytest.mark.parametrize("flags", [b"00", b"02"])
@pytest.mark.parametrize("as_child", [True, False])
def test_p11_an_unsampled_parent_costs_no_span_and_its_headers_are_passed_on(flags: bytes, as_child: bool) -> None:
    incoming = (("traceparent", UNSAMPLED[:-2] + flags), ("tracestate", b"a=1"))
    consumer = Consumer(as_child=as_child)
    message = consumer.start(*incoming)
    headers = sent(message, VERDICT_TEXT, "out")
    consumer.tracer.polled(1, [record()], [message])
    consumer.tracer.acknowledged([message])
    consumer.tracer.completed(message)
    consumer.tracer.committed(["in"], 1)

    assert headers == list(incoming)
    assert message.carrier == {}
    assert not message.is_sampled
    assert consumer.tracing.is_empty


def test_p11_a_random_trace_id_is_still_said_to_be_random() -> None:
    message = Consumer().start(("traceparent", SAMPLED[:-2] + b"03"))

    assert dict(message.headers_of_send("out"))["traceparent"].endswith(b"-03")


def test_p11_where_the_sampler_does_not_follow_the_parent_an_unsampled_one_is_traced() -> None:
    assert Consumer(parent_decides=False).start(("traceparent", UNSAMPLED)).is_sampled


def test_p11_switched_off_nothing_is_created_and_headers_are_passed_on() -> None:
    consumer = Consumer(enabled=False, always=("dead_letter", "not_safe", "slow"))
    message = consumer.start(("traceparent", SAMPLED))
    consumer.tracer.decided(message, record(), VERDICT_TEXT, 1 << 60)

    assert sent(message, VERDICT_TEXT, "out") == [("traceparent", SAMPLED)]
    assert not message.is_sampled


def test_p11_a_message_without_a_producer_s_span_starts_a_trace_of_its_own() -> None:
    consumer = Consumer()
    consumer.start().end()

    assert consumer.spans()["process in"].parent is None


def test_p11_a_root_that_the_sampler_refuses_has_no_spans() -> None:
    consumer = Consumer(ParentBased(ALWAYS_OFF))
    message = consumer.start()

    assert sent(message, VERDICT_TEXT, "out") == []
    assert not message.is_sampled


@pytest.mark.parametrize("broken", [b"", b"\xff\xfe", b"garbage-00", b"00-zz-yy-01", SAMPLED + b"0" * 5000])
def test_p11_a_broken_trace_header_starts_a_new_trace_and_harms_nothing(broken: bytes) -> None:
    consumer = Consumer()
    message = consumer.start(("traceparent", broken), ("tracestate", b"\xff=="))
    headers = sent(message, VERDICT_TEXT, "out")
    message.end()

    assert consumer.spans()["process in"].parent is None
    assert header_ids(headers) == ids(consumer.spans()["create out"])
    assert [name for name, _ in headers] == ["traceparent"]


@pytest.mark.parametrize("flags", [b"00", b"01"])
def test_p11_baggage_is_passed_on_whether_the_message_is_sampled_or_not(flags: bytes) -> None:
    consumer = Consumer()
    message = consumer.start(("baggage", b"user=1"), ("traceparent", SAMPLED[:-2] + flags), ("tracestate", b"a=1"))
    headers = message.headers_of_send("out")
    message.end()

    assert [name for name, _ in headers] == ["traceparent", "tracestate", "baggage"]
    assert dict(headers)["baggage"] == b"user=1"
    assert all("user" not in span.to_json() for span in consumer.finished()), "baggage may say anything (P10)"
    assert Consumer().start(("baggage", b"user=1")).headers_of_send("out")[-1] == ("baggage", b"user=1")
    assert "baggage" not in dict(Consumer().start(("baggage", b"x" * 8_193)).headers_of_send("out"))


def test_p11_the_batches_that_a_message_rode_in_are_linked_and_its_longest_times_are_told() -> None:
    consumer = Consumer()
    message = consumer.start()
    assert message.spans is not None
    batch = {"traceparent": SAMPLED.decode()}
    answers = [judged(batch, 1.5, 2.5), judged({"traceparent": "nonsense"}, 0.5, 3.5), judged(batch, 1.5, 2.5)]
    failed = Judged(ItemError(Reason.INFERENCE_FAILED, "no"), VERDICT.provenance, 1)
    message.spans.judged([*answers, failed])
    message.end()
    process = consumer.spans()["process in"]

    assert [(link.context.trace_id, link.context.span_id) for link in process.links] == [PRODUCER]
    told = {name: value for name, value in attributes(process).items() if name.startswith("moderation.")}
    assert told == {"moderation.queue_ms": 1.5, "moderation.guard_ms": 3.5}


def test_p11_a_message_of_more_windows_than_a_span_has_links_has_all_that_a_span_has() -> None:
    consumer = Consumer(as_child=False)
    message = consumer.start(("traceparent", SAMPLED))
    assert message.spans is not None
    message.spans.judged([judged(SpanContext(b"t" * 16, bytes([n, 1] * 4)).carrier(), 1.0, 1.0) for n in range(200)])
    message.end()
    links = consumer.spans()["process in"].links

    assert len({link.context.span_id for link in links}) == len(links) == MAX_LINKS
    assert (links[0].context.trace_id, links[0].context.span_id) == PRODUCER


def test_p11_a_message_that_got_a_kept_judgement_says_so() -> None:
    consumer = Consumer()
    for kept in ([judged({}, 0.0, 0.0)], [judged({}, 0.0, 0.0), judged({}, 0.0, 2.0)]):
        message = consumer.start()
        assert message.spans is not None
        message.spans.judged(kept)
        message.end()
    first, second = (attributes(span) for span in consumer.finished())

    assert first["moderation.cache.hit"] is True
    assert "moderation.cache.hit" not in second


def test_p11_a_dead_letter_marks_the_span_as_an_error_by_its_reason() -> None:
    letter = dead_letter(record(), EventError(Reason.INVALID_JSON, "at 3"), group="weir")
    consumer = Consumer()
    message = consumer.start()
    sent(message, letter, "dlq")
    message.end()
    process = consumer.spans()["process in"]

    assert (process.status.status_code, process.status.description) == (StatusCode.ERROR, "invalid_json")
    assert attributes(process)["error.type"] == "invalid_json"
    assert attributes(process)["moderation.stage"] == "decode"


def test_p11_what_was_said_last_of_a_message_is_all_that_is_said() -> None:
    letter = dead_letter(record(), EventError(Reason.VERDICT_TOO_LARGE, "at 3"), group="weir")
    ends = []
    for outcomes in ((VERDICT_TEXT, letter), (letter, VERDICT_TEXT)):
        consumer = Consumer()
        message = consumer.start()
        for outcome in outcomes:
            sent(message, outcome, "out")
        message.end()
        process = consumer.spans()["process in"]
        told = attributes(process).keys() & {"error.type", "moderation.stage", "moderation.severity"}
        ends.append((told, process.status.is_ok))

    assert ends == [({"error.type", "moderation.stage"}, False), ({"moderation.severity"}, True)]


def test_p11_a_second_attempt_to_send_keeps_its_context_and_another_topic_has_one_of_its_own() -> None:
    consumer = Consumer()
    message = consumer.start()
    first, again = sent(message, VERDICT_TEXT, "out"), sent(message, VERDICT_TEXT, "out")
    other = header_ids(sent(message, VERDICT_TEXT, "dlq"))
    message.end()
    message.end()

    assert first == again
    assert ids(consumer.spans()["create dlq"]) == other != header_ids(first)
    assert sorted(span.name for span in consumer.finished()) == ["create dlq", "process in"]


def test_p11_what_leaves_after_its_partition_was_lost_still_leads_back() -> None:
    consumer = Consumer()
    message = consumer.start(("traceparent", SAMPLED))
    message.end()
    created = header_ids(message.headers_of_send("out"))
    consumer.tracer.acknowledged([message])

    assert sorted(span.name for span in consumer.finished()) == ["create out", "process in", "send out"]
    assert ids(consumer.spans()["create out"]) == created


def test_p10_no_span_holds_key_text_or_detail() -> None:
    consumer = Consumer()
    letter = dead_letter(record(), EventError(Reason.INVALID_JSON, "private detail"), group="weir")
    messages = [consumer.start(), consumer.start()]
    sent(messages[0], VERDICT_TEXT, "out")
    sent(messages[1], letter, "dlq")
    consumer.tracer.polled(1, [record(), record()], messages)
    consumer.tracer.acknowledged(messages)

    assert len(consumer.finished()) == 7
    assert not [span.name for span in consumer.finished() if "private" in span.to_json()]
