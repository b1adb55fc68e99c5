"""The spans of what is done for many messages at once, and their links to the sampled ones (P11)."""

from opentelemetry.trace import SpanKind

from tests.workers.telemetry.recorded_spans import UNSAMPLED, Consumer, attributes, record
from workers.telemetry.message_trace import MessageTrace
from workers.telemetry.span_encoding import MAX_LINKS


def span_of(message: MessageTrace) -> int:
    assert message.spans is not None
    return int(message.carrier["traceparent"].split("-")[2], 16)


def test_p11_one_poll_span_links_the_sampled_messages_of_the_poll() -> None:
    consumer = Consumer()
    records = [record(offset=1), record(("traceparent", UNSAMPLED), offset=2), record(offset=3)]
    messages = [consumer.tracer.start(item, 1) for item in records]
    consumer.tracer.polled(123, records, messages)
    poll = consumer.spans()["poll in"]

    assert (poll.kind, poll.parent, poll.start_time) == (SpanKind.CLIENT, None, 123)
    assert attributes(poll) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "poll",
        "messaging.operation.type": "receive",
        "messaging.consumer.group.name": "weir",
        "messaging.batch.message_count": 3,
        "messaging.destination.name": "in",
    }
    assert [(link.context.span_id, dict(link.attributes or {})) for link in poll.links] == [
        (
            span_of(message),
            {
                "messaging.destination.name": "in",
                "messaging.destination.partition.id": "5",
                "messaging.kafka.offset": offset,
            },
        )
        for message, offset in ((messages[0], 1), (messages[2], 3))
    ]


def test_p11_a_poll_of_two_topics_names_both_and_gives_no_single_destination() -> None:
    consumer = Consumer()
    records = [record(), record()._replace(topic="also")]
    consumer.tracer.polled(1, records, [consumer.tracer.start(item, 1) for item in records])

    assert "messaging.destination.name" not in attributes(consumer.spans()["poll also,in"])


def test_p11_an_empty_poll_has_no_span_and_a_large_one_a_further_span_for_each_128() -> None:
    consumer = Consumer()
    consumer.tracer.polled(1, [], [])
    assert consumer.tracing.is_empty

    records = [record(offset=offset) for offset in range(2 * MAX_LINKS + 5)]
    consumer.tracer.polled(1, records, [consumer.tracer.start(item, 1) for item in records])

    assert [len(span.links) for span in consumer.finished("poll in")] == [MAX_LINKS, MAX_LINKS, 5]


def test_p11_a_parse_span_links_the_sampled_messages_of_a_chunk() -> None:
    consumer = Consumer()
    messages = [consumer.start(), consumer.start(("traceparent", UNSAMPLED))]
    consumer.tracer.parsed(5, messages, 2)
    (parse,) = consumer.finished("parse")

    assert (parse.kind, parse.start_time, attributes(parse)) == (SpanKind.INTERNAL, 5, {"moderation.batch.size": 2})
    assert [link.context.span_id for link in parse.links] == [span_of(messages[0])]


def test_p11_one_send_span_for_each_topic_links_what_was_created_for_it() -> None:
    consumer = Consumer()
    messages = [consumer.start() for _ in range(3)]
    for message, topic in zip(messages, ("out", "dlq", "out"), strict=True):
        message.headers_of_send(topic)
    consumer.tracer.acknowledged(messages)
    created = [span.context.span_id for span in consumer.finished("create out") if span.context is not None]
    (send,) = consumer.finished("send out")

    assert (send.kind, send.parent) == (SpanKind.CLIENT, None)
    assert attributes(send) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "out",
        "messaging.batch.message_count": 2,
    }
    assert [link.context.span_id for link in send.links] == created
    assert [len(span.links) for span in consumer.finished("send dlq")] == [1]


def test_p11_a_commit_span_settles_and_links_what_was_completed_since_the_last() -> None:
    consumer = Consumer()
    first, second = consumer.start(), consumer.start()
    consumer.tracer.completed(first)
    consumer.tracer.completed(consumer.start(("traceparent", UNSAMPLED)))
    consumer.tracer.committed(["in"], 77)
    consumer.tracer.completed(second)
    consumer.tracer.committed(["other", "in"], 78)
    consumer.tracer.committed(["in"], 79)
    commits = consumer.finished()

    assert [(span.name, span.kind, span.start_time) for span in commits] == [
        ("commit in", SpanKind.CLIENT, 77),
        ("commit in,other", SpanKind.CLIENT, 78),
    ]
    assert [[link.context.span_id for link in span.links] for span in commits] == [[span_of(first)], [span_of(second)]]
    settled = {
        "messaging.system": "kafka",
        "messaging.operation.name": "commit",
        "messaging.operation.type": "settle",
        "messaging.consumer.group.name": "weir",
    }
    assert [attributes(span) for span in commits] == [settled | {"messaging.destination.name": "in"}, settled]
