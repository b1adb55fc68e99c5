"""Spans as bytes mean what the SDK's own encoder writes, and W3C headers are read as the API reads them (P11)."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import (
    Link,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
)
from opentelemetry.trace import SpanContext as SdkSpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas.verdict import Severity
from workers.telemetry.span_encoding import (
    SpanContext,
    encode_attributes,
    encode_link,
    encode_name,
    encode_span,
    new_root,
    read_traceparent,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# Lengths around those where a varint takes one byte more, that of the text, of its field or of its attribute.
LONG = st.builds(
    str.__mul__, st.sampled_from("aä€"), st.sampled_from([41, 42, 60, 110, 127, 128, 5_461, 16_383, 16_384])
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 127, 128, 16_383, 16_384, 2**31, -(2**63), 2**63 - 1]),
    st.integers(-(2**63), 2**63 - 1),
)
VALUES = st.one_of(TEXTS, LONG, st.booleans(), NUMBERS, st.sampled_from([0.0, 1.0, -0.0]), st.floats(allow_nan=False))
ATTRIBUTES = st.dictionaries(TEXTS.filter(bool), VALUES, max_size=6)
IDS = st.binary(min_size=8, max_size=8).filter(any)
TRACES = st.binary(min_size=16, max_size=16).filter(any)
TIMES = st.integers(0, 2**63 - 1)
FLAGS = TraceFlags(TraceFlags.SAMPLED)


def context(place: SpanContext, *, is_remote: bool) -> SdkSpanContext:
    state = TraceState.from_header([place.state.decode()])
    return SdkSpanContext(int.from_bytes(place.trace), int.from_bytes(place.span), is_remote, FLAGS, state)


@settings(deadline=None)  # a loaded machine is no fault
@given(
    own=st.builds(SpanContext, TRACES, IDS, st.just(b"01"), st.sampled_from([b"", b"a=1", b"a=1,b=2"])),
    parent=st.one_of(st.just(b""), IDS),
    name=TEXTS,
    kind=st.sampled_from(SpanKind),
    times=st.tuples(TIMES, TIMES),
    attributes=ATTRIBUTES,
    links=st.lists(
        st.tuples(st.builds(SpanContext, TRACES, IDS, st.just(b"01"), st.just(b"")), ATTRIBUTES), max_size=3
    ),
    error=st.one_of(st.none(), TEXTS),
    is_remote=st.booleans(),
)
def test_p11_a_span_as_bytes_is_what_the_sdk_would_have_sent(
    own: SpanContext,
    parent: bytes,
    name: str,
    kind: SpanKind,
    times: tuple[int, int],
    attributes: dict[str, str | int | float],
    links: list[tuple[SpanContext, dict[str, str | int | float]]],
    error: str | None,
    is_remote: bool,
) -> None:
    given_links = [encode_link(place.encoded(), encode_attributes(of_link, of_link=True)) for place, of_link in links]
    data = encode_span(
        own.encoded(),
        parent,
        encode_name(name, kind),
        times,
        encode_attributes(attributes),
        given_links,
        error,
        is_parent_remote=is_remote,
    )
    above = SdkSpanContext(int.from_bytes(own.trace), int.from_bytes(parent), is_remote, FLAGS) if parent else None
    theirs = ReadableSpan(
        name,
        context(own, is_remote=False),
        above,
        attributes=attributes,
        links=[Link(context(place, is_remote=True), of_link) for place, of_link in links],
        kind=kind,
        status=Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, error),
        start_time=times[0],
        end_time=times[1],
    )
    (span,) = ScopeSpans.FromString(data).spans
    (wanted,) = encode_spans([theirs]).resource_spans[0].scope_spans[0].spans

    assert span.flags & 1, "the SDK forgets to say that a span is sampled"
    assert bool(span.flags & 0x200) == (is_remote or (not parent and is_remote))
    for each in (span, wanted):
        each.flags = 0
        each.ClearField("status") if error is None else None
        for link in each.links:
            link.flags = 0
    assert span == wanted


def told(key: str, value: str | int | float) -> tuple[object, object]:
    """What an attribute says that was told of a span, and of a link of it."""
    data = encode_span(
        new_root().encoded(),
        b"",
        encode_name("n", SpanKind.CLIENT),
        (1, 1),
        encode_attributes({key: value}),
        [encode_link(new_root().encoded(), encode_attributes({key: value}, of_link=True))],
    )
    (span,) = ScopeSpans.FromString(data).spans
    found = [attribute.value for place in (span, *span.links) for attribute in place.attributes]
    first, second = (getattr(value, str(value.WhichOneof("value"))) for value in found)
    return first, second


@pytest.mark.parametrize(
    "values",
    [(1, 1.0, True, "1"), (True, "1", 1.0, 1), (0, -0.0, False, ""), ("", False, 0), (-1, 2**63 - 1, -(2**63))],
)
def test_p11_equal_values_of_several_kinds_keep_their_kinds_whichever_came_first(
    values: tuple[str | int | float, ...],
) -> None:
    key = f"k{values!r}"  # nothing is remembered of it
    for value in (*values, *values):
        for read in told(key, value):
            assert (type(read), repr(read)) == (type(value), repr(value))


def test_p11_what_is_no_number_of_the_wire_or_no_text_is_told_as_near_as_can_be() -> None:
    assert [math.isnan(float(str(read))) for read in told("k", math.nan)] == [True, True]
    assert told("k", math.inf) == (math.inf, math.inf)
    assert told("k", "half \ud83d of one") == ("half ? of one",) * 2
    assert told("k", Severity.UNSAFE) == ("Unsafe", "Unsafe")


STATES = ["", "a=1", "a=1,b=2", " a=1 , b=2 ", "a=1,,b=2", "A=1", "a", "a=", "=1", "a=1=2", "a@b=x y", "a=1\n", "ä=1"]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "traceparent",
    [
        PARENT,
        PARENT[:-2] + "00",
        PARENT[:-2] + "ff",
        f" {PARENT} ",
        PARENT + "-more",
        "01" + PARENT[2:] + "-more",
        "cc" + PARENT[2:],
        "ff" + PARENT[2:],
        PARENT.upper(),
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        PARENT + "\n",
        "",
        "garbage",
        "00-١٢-" + PARENT,
    ],
)
def test_p11_a_traceparent_is_read_as_the_api_reads_it(traceparent: str) -> None:
    wanted = get_current_span(
        TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    ).get_span_context()
    read = read_traceparent(traceparent.encode())

    assert (read is not None) == wanted.is_valid
    if read is not None:
        assert (int.from_bytes(read.trace), int.from_bytes(read.span)) == (wanted.trace_id, wanted.span_id)


@pytest.mark.parametrize("state", [*STATES, ",".join(f"k{i}=1" for i in range(40)), "a=" + "x" * 600])
def test_p11_a_tracestate_is_passed_on_whole_or_not_at_all_and_never_logged(
    state: str, caplog: pytest.LogCaptureFixture
) -> None:
    read = read_traceparent(PARENT.encode(), state.encode())
    assert read is not None
    assert read.state in (b"", state.encode())
    assert caplog.records == [], "the API would quote it (P10)"
    assert bool(read.state) == (state in ("a=1", "a=1,b=2", " a=1 , b=2 ", "a=1,,b=2", "a@b=x y"))


def test_p11_a_carrier_says_where_its_span_is() -> None:
    root = new_root()
    child = root.child()

    assert read_traceparent(child.traceparent) == child
    assert (child.trace, child.flags) == (root.trace, b"03")
    assert child.span != root.span
    assert child._replace(state=b"a=1").carrier()["tracestate"] == "a=1"
