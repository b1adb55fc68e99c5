"""Delta frames: what is read, and what each way of being wrong is called."""

import json
from typing import Any

import pytest

from schemas.cut_value import CutValue
from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.turns.frame import decode_frame

LIMIT = 1_000
SECRET = "zanzibar"
FIRST = {"conversation_id": "c", "turn": 3, "seq": 0, "messages": [{"role": "user", "content": SECRET}]}


def bytes_of(**fields: Any) -> bytes:
    return json.dumps({**FIRST, **fields}).encode()


def test_a_frame_has_what_was_written_and_defaults_for_the_rest() -> None:
    frame = decode_frame(bytes_of(delta="the lamp"), LIMIT)

    assert (frame.conversation_id, frame.tenant, frame.turn, frame.role) == ("c", "default", 3, "assistant")
    assert (frame.seq, frame.offset, frame.delta, frame.final) == (0, None, "the lamp", False)


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, Reason.TOMBSTONE, "value: null"),
        (b"{" + b" " * LIMIT, Reason.EVENT_TOO_LARGE, f"value: {LIMIT + 1} bytes"),
        (b"\xff", Reason.NOT_UTF8, "value: not UTF-8"),
        (b"{", Reason.INVALID_JSON, "value: not JSON"),
        (b"[]", Reason.WRONG_TYPE, "value: a JSON object is needed"),
        (b'{"turn": 3}', Reason.MISSING_FIELD, "conversation_id: missing"),
        (bytes_of(finale=True), Reason.INVALID_VALUE, "did you mean final"),
        (bytes_of(**{SECRET: 1}), Reason.INVALID_VALUE, "a field that no frame has"),
        (bytes_of(schema_version="2.0"), Reason.UNSUPPORTED_VERSION, "schema_version"),
        (bytes_of(turn="3"), Reason.WRONG_TYPE, "turn: int_type"),
        (bytes_of(turn=-3), Reason.INVALID_VALUE, "turn: -3"),
        (bytes_of(seq=2**53), Reason.INVALID_VALUE, f"seq: {2**53}"),
        (bytes_of(seq=1), Reason.INVALID_VALUE, "messages: come with seq 0, and this is seq 1"),
        (bytes_of(final="yes"), Reason.WRONG_TYPE, "final: bool_type"),
        (bytes_of(role=SECRET), Reason.INVALID_VALUE, "role: literal_error"),
        (bytes_of(delta=[SECRET]), Reason.WRONG_TYPE, "delta: string_type"),
        (bytes_of(delta=SECRET + "\ud83d"), Reason.LONE_SURROGATE, "delta: holds half a character"),
        (bytes_of(messages=[{"role": "user", "content": "\ud83d"}]), Reason.LONE_SURROGATE, "messages"),
        (b'{"seq": {"a": "%s"}, "\\ud83d": 1}' % SECRET.encode(), Reason.LONE_SURROGATE, "a field name: holds half"),
        (bytes_of(messages=[{"role": SECRET, "content": ""}]), Reason.INVALID_VALUE, "messages.0.role"),
        (bytes_of(conversation_id=""), Reason.INVALID_VALUE, "conversation_id: string_too_short"),
    ],
)
def test_p10_what_is_no_frame_says_which_field_is_wrong_and_quotes_no_text(
    value: bytes | None, reason: Reason, detail: str
) -> None:
    with pytest.raises(EventError) as caught:
        decode_frame(value, LIMIT)

    assert caught.value.reason is reason
    assert detail in caught.value.detail
    assert SECRET not in caught.value.detail
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or SECRET not in str(caught.value.__context__)


def test_a_value_that_was_cut_has_the_reason_why() -> None:
    with pytest.raises(EventError) as caught:
        decode_frame(CutValue("too much", Reason.UNREADABLE_BATCH), LIMIT)

    assert caught.value.reason is Reason.UNREADABLE_BATCH
