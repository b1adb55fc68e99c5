"""P11: a `traceparent` is looked at once and early: what names no span begins no trace and is no end of one."""

import pytest

from schemas.dead_letter import dead_letter
from schemas.errors import TerminalError
from schemas.reasons import Reason
from schemas.record import Headers, SourceRecord
from workers.stream.dead_letters import letter_record
from workers.telemetry.message_trace import _trace_headers
from workers.telemetry.span_encoding import names_a_span, read_traceparent

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
GOOD = [
    b"00-%b-%b-01" % (TRACE, SPAN),
    b"00-%b-%b-00" % (TRACE, SPAN),
    b"00-%b-%b-03" % (TRACE, SPAN),
    b"cc-%b-%b-01" % (TRACE, SPAN),
    b"cc-%b-%b-01-more" % (TRACE, SPAN),
]
ODD = [
    b"", b"00", b"\xff\xff", b"00-a-b-01", b"null", b"00-%b-%b" % (TRACE, SPAN),
    b"00-%b-%b-00" % (b"0" * 32, SPAN), b"00-%b-%b-00" % (TRACE, b"0" * 16), b"00-%b-%b-00" % (b"0" * 32, b"0" * 16),
    b"ff-%b-%b-01" % (TRACE, SPAN), b"00-%b-%b-01-more" % (TRACE, SPAN), b"00-%b-%b-zz" % (TRACE, SPAN),
    b"00-%b-%b-1" % (TRACE, SPAN), b"00-%b-%b-01" % (TRACE.upper(), SPAN), b"00_%b_%b_01" % (TRACE, SPAN),
    b"0-%b-%b-01" % (TRACE, SPAN), b"00-%b-%b-01" % (TRACE[:-1], SPAN), b"00-%b-%b-01\n01" % (TRACE, SPAN),
]  # fmt: skip
OURS = [("traceparent", b"00-%b-%b-01" % (TRACE[::-1], SPAN[::-1]))]


def record(*headers: tuple[str, bytes | None]) -> SourceRecord:
    return SourceRecord("chat.events", 0, 1, 0, b"k", b"{", headers)


def letter_headers(*headers: tuple[str, bytes | None]) -> Headers:
    letter = dead_letter(record(*headers), TerminalError(Reason.INVALID_JSON, "x"), group="weir")
    written = letter_record(letter, "dlq", OURS, 1).headers
    return tuple((name, value) for name, value in written if name == "traceparent")


@pytest.mark.parametrize("parent", ODD)
def test_p11_what_names_no_span_is_as_if_there_were_none(parent: bytes) -> None:
    assert not names_a_span(parent)
    assert read_traceparent(parent) is None
    assert _trace_headers(record(("traceparent", parent), ("tracestate", b"a=b"))) == ()
    assert letter_headers(("traceparent", parent)) == (("traceparent", parent), *OURS), "the last one leads home"


@pytest.mark.parametrize("parent", GOOD)
def test_p11_what_names_one_is_passed_on(parent: bytes) -> None:
    assert _trace_headers(record(("traceparent", parent)))[0] == ("traceparent", parent)
    assert letter_headers(("traceparent", parent)) == (("traceparent", parent),)


def test_p11_the_last_of_several_counts() -> None:
    good, odd = ("traceparent", GOOD[0]), ("traceparent", ODD[0])

    assert _trace_headers(record(good, odd)) == ()
    assert _trace_headers(record(odd, good)) == (good,)
    assert letter_headers(good, odd) == (good, odd, *OURS)
    assert letter_headers(odd, good) == (odd, good)
    assert letter_headers(("traceparent", None)) == (("traceparent", b""), *OURS)
