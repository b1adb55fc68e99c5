"""The spans of a consumer's own calls, `poll` and `commit`, and their links to the sampled messages (P11)."""

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind

from tests.stream.recorded_spans import UNSAMPLED, Tracing, attributes, record
from workers.stream.message_trace import MAX_LINKS


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Tracing:
    return Tracing(monkeypatch, ParentBased(ALWAYS_ON))


def test_p11_one_poll_span_links_the_sampled_messages_of_the_poll(tracing: Tracing) -> None:
    tracer = tracing.tracer()
    records = [record(offset=1), record(("traceparent", UNSAMPLED), offset=2), record(offset=3)]
    messages = [tracer.start(item) for item in records]
    tracer.polled(123, records, messages)
    poll = tracing.spans()["poll in"]

    assert (poll.kind, poll.parent, poll.start_time) == (SpanKind.CLIENT, None, 123)
    assert attributes(poll) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "poll",
        "messaging.operation.type": "receive",
        "messaging.consumer.group.name": "weir",
        "messaging.batch.message_count": 3,
        "messaging.destination.name": "in",
    }
    assert [(link.context.span_id, dict(link.attributes or {})["messaging.kafka.offset"]) for link in poll.links] == [
        (context.span_id, offset)
        for message, offset in ((messages[0], 1), (messages[2], 3))
        if (context := message.context) is not None
    ]


def test_p11_a_poll_of_two_topics_names_both_and_gives_no_single_destination(tracing: Tracing) -> None:
    tracer = tracing.tracer()
    records = [record(), record()._replace(topic="also")]
    tracer.polled(1, records, [tracer.start(item) for item in records])

    assert "messaging.destination.name" not in attributes(tracing.spans()["poll also,in"])


def test_p11_an_empty_poll_has_no_span_and_a_large_one_a_further_span_for_each_128(tracing: Tracing) -> None:
    tracer = tracing.tracer()
    tracer.polled(1, [], [])
    assert tracing.created == 0

    records = [record(offset=offset) for offset in range(2 * MAX_LINKS + 5)]
    tracer.polled(1, records, [tracer.start(item) for item in records])

    assert [len(span.links) for span in tracing.finished() if span.name == "poll in"] == [MAX_LINKS, MAX_LINKS, 5]


def test_p11_a_commit_span_settles_and_links_what_was_completed_since_the_last(tracing: Tracing) -> None:
    tracer = tracing.tracer()
    first, second = tracer.start(record()), tracer.start(record())
    tracer.completed(first)
    tracer.completed(tracer.start(record(("traceparent", UNSAMPLED))))
    tracer.committed(["in"], 77)
    tracer.completed(second)
    tracer.committed(["other", "in"], 78)
    tracer.committed(["in"], 79)
    commits = tracing.finished()

    assert [(span.name, span.kind, span.start_time) for span in commits] == [
        ("commit in", SpanKind.CLIENT, 77),
        ("commit in,other", SpanKind.CLIENT, 78),
    ]
    assert [[link.context for link in span.links] for span in commits] == [[first.context], [second.context]]
    assert attributes(commits[0])["messaging.operation.name"] == "commit"
    assert attributes(commits[0])["messaging.operation.type"] == "settle"
