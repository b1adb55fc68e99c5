"""Decodes a record's bytes and headers to a `ChatEvent`: plain JSON, or CloudEvents in binary or structured mode.

Each way in which bytes can be wrong raises `EventError` with a reason of its own. Does not decide what happens then.
"""

import json
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from schemas import cloud_event
from schemas.errors import EventError
from schemas.event import MAJOR_VERSION, ChatEvent
from schemas.reasons import Reason
from schemas.record import Headers, SourceRecord

MAX_DEPTH = 32
_REASON_OF_ERROR = {
    "missing": Reason.MISSING_FIELD,
    "string_unicode": Reason.LONE_SURROGATE,
    "literal_error": Reason.UNSUPPORTED_ROLE,
    "too_short": Reason.EMPTY_MESSAGES,
}


def decode_event(record: SourceRecord, max_bytes: int) -> ChatEvent:
    """Decode one record.

    Args:
        record: the record as consumed.
        max_bytes: largest value accepted, in bytes.

    Raises:
        EventError: with the reason code; the text names fields, never their content.
    """
    if record.value is None:
        raise EventError(Reason.TOMBSTONE, "value: null (a tombstone)")
    if len(record.value) > max_bytes:
        raise EventError(Reason.EVENT_TOO_LARGE, f"value: {len(record.value)} bytes, the limit is {max_bytes}")
    event = _validate(_payload(record, record.value))
    _check_turns(event)
    return event


def _payload(record: SourceRecord, value: bytes) -> dict[str, Any]:
    content_type, is_binary = _mode(record.headers)
    if content_type.startswith("application/cloudevents"):
        return cloud_event.payload_of_structured(content_type, value, _parse_object)
    if content_type and content_type != "application/json" and not content_type.endswith("+json"):
        raise EventError(Reason.UNSUPPORTED_CONTENT_TYPE, "content-type: not a JSON type")
    payload = _parse_object(value)
    if is_binary:
        return cloud_event.payload_of_binary(record.headers, payload)
    if "specversion" in payload:
        raise EventError(
            Reason.INVALID_CLOUDEVENT,
            f"specversion: a structured CloudEvent needs the header content-type: {cloud_event.STRUCTURED_TYPE}",
        )
    return payload


def _mode(headers: Headers) -> tuple[str, bool]:
    """The last content type, and whether there are attributes of a CloudEvent in binary mode."""
    content_type, binary = "", False
    for name, value in headers:
        lower = name.lower()
        if lower == "content-type" and value is not None:
            content_type = value.decode("utf-8", "replace").split(";")[0].strip().lower()
        elif lower.startswith(cloud_event.BINARY_PREFIX):
            binary = True
    return content_type, binary


def _parse_object(value: bytes) -> dict[str, Any]:
    try:
        payload = from_json(value)
    except ValueError:
        payload = _parse_slowly(value)
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _is_deeper(payload, MAX_DEPTH):
        raise _too_deep()
    if not isinstance(payload, dict):
        raise EventError(Reason.WRONG_TYPE, f"value: a JSON object is needed, found {type(payload).__name__}")
    return payload


def _parse_slowly(value: bytes) -> object:
    """Name what is wrong with bytes that the fast reader refuses; a lone surrogate passes here and is refused later."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EventError(Reason.NOT_UTF8, f"value: not UTF-8 at byte {error.start}") from None
    try:
        return json.loads(text)
    except ValueError as error:
        position = getattr(error, "pos", 0)
        raise EventError(Reason.INVALID_JSON, f"value: not JSON, at character {position} of {len(text)}") from None
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> EventError:
    return EventError(Reason.NESTED_TOO_DEEPLY, f"value: nested more than {MAX_DEPTH} levels deep")


def _is_deeper(payload: object, limit: int) -> bool:
    # Level by level instead of by recursion: the input chooses the depth.
    level = [payload] if isinstance(payload, dict | list) else []
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return bool(level)


def _validate(payload: dict[str, Any]) -> ChatEvent:
    version = payload.get("schema_version")
    if isinstance(version, str):
        major = version.partition(".")[0]
        if major.isdecimal() and len(major) <= 4 and int(major) != MAJOR_VERSION:
            raise EventError(
                Reason.UNSUPPORTED_VERSION, f"schema_version: major {int(major)}, this worker reads {MAJOR_VERSION}"
            )
    try:
        return ChatEvent.from_payload(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "value"
    kind = first["type"]
    reason = _REASON_OF_ERROR.get(kind)
    if reason is None:
        reason = Reason.WRONG_TYPE if kind.endswith("_type") else Reason.INVALID_VALUE
    raise EventError(reason, f"{field}: {kind}")


def _check_turns(event: ChatEvent) -> None:
    """Refuse what the chat template would drop without a word, so that nothing goes unjudged."""
    roles = [message["role"] for message in event.messages]
    last = len(roles) - 1
    if roles[last] == "system":
        raise EventError(Reason.UNSUPPORTED_ROLE, f"messages.{last}.role: system cannot be judged")
    if roles[0] == "assistant":
        raise EventError(Reason.UNSUPPORTED_ROLE, "messages.0.role: assistant cannot come first")
    if "system" in roles[1:]:
        raise EventError(Reason.UNSUPPORTED_ROLE, f"messages.{roles.index('system', 1)}.role: system only comes first")
    if not event.messages[last]["content"].strip():
        raise EventError(Reason.BLANK_TEXT, f"messages.{last}.content: empty or only white space")
