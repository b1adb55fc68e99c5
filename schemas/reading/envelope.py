"""What is around an event: its media type as clients write it, a registry's frame, an envelope without a header."""

from collections.abc import Callable
from typing import Any

from schemas import cloud_event
from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.record import Headers

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A registry's frame: a zero and the schema's id in four bytes or eight, a one and its id in sixteen, or AWS Glue's.
_FRAMES = ((b"\x00", 5), (b"\x01", 17), (b"\x00", 9), (b"\x03\x00", 18))
_CONNECT = {"schema", "payload"}
_JSON_TYPES = ("/json", "+json", "-json", "-ndjson")
_BEGINNING = 64  # bytes
_UNKNOWN_CONTENT = "application/octet-stream"  # what a client says that says nothing


def mode_of(headers: Headers, content: bytes) -> tuple[bool, bool]:
    """Whether headers tell of a CloudEvent in structured mode, and whether of one in binary mode.

    Raises:
        EventError: their last content type is one of CloudEvents that Kafka does not have; or no type of JSON, and the
            content does not look like JSON either, as it often does where clients say `text/plain`.
    """
    content_type, is_binary = None, False
    for name, value in headers:
        lower = name.lower()
        if lower == "content-type" and value is not None:
            content_type = value
        elif value is not None and lower in cloud_event.BINARY_NAMES:
            is_binary = True
    return content_type not in (None, b"application/json") and _is_structured(content_type, content), is_binary


def _is_structured(header: bytes, content: bytes) -> bool:
    """Whether a `content-type` header names a CloudEvent in structured mode, and not just any JSON."""
    # Spring's older versions write a header as JSON.
    name = cloud_event.header_text(header).decode("utf-8", "replace").strip().strip('"').split(";")[0].strip().lower()
    if name.startswith(cloud_event.MEDIA_TYPES):
        if name == cloud_event.STRUCTURED_TYPE:
            return True
        raise EventError(Reason.INVALID_CLOUDEVENT, "content-type: Kafka has structured JSON and binary mode only")
    is_json = name.endswith(_JSON_TYPES) or name in ("", _UNKNOWN_CONTENT)
    if not is_json and unframed(content[:_BEGINNING]).lstrip()[:1] != b"{":
        raise EventError(Reason.UNSUPPORTED_CONTENT_TYPE, "content-type: not a JSON type")
    return False


def unframed(value: bytes) -> bytes:
    """A value without a byte order mark and without a schema registry's frame around JSON."""
    for magic, length in _FRAMES:
        if value.startswith(magic) and value[length:].lstrip().removeprefix(BYTE_ORDER_MARK)[:1] == b"{":
            value = value[length:]
            break
    return value.removeprefix(BYTE_ORDER_MARK)


def object_in(value: object, parse: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
    """The object that a JSON text holds in writing, as Debezium's outbox hands it on.

    Raises:
        EventError: there is none; `tombstone` for a null, as converters write one.
    """
    if value is None:
        raise EventError(Reason.TOMBSTONE, "value: null (a tombstone)")
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        return parse(value.encode("utf-8", "surrogatepass"))
    raise EventError(Reason.WRONG_TYPE, f"value: a JSON object is needed, found {type(value).__name__}")


def opened(payload: dict[str, Any], parse: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
    """The event within an object, or the object where it is no envelope.

    Kafka Connect's converter wraps a value beside its schema. CloudEvents are told by their content type "if present"
    (Kafka binding, 3.3.1): Dapr and Debezium write them without.

    Args:
        payload: an object without an event's id, or with a CloudEvent's version.
        parse: reads a JSON object, or raises EventError.

    Raises:
        EventError: it is a CloudEvent, and its attributes or its data are wrong.
    """
    if payload.keys() == _CONNECT:
        inner = payload["payload"]
        payload = inner if isinstance(inner, dict) else object_in(inner, parse)
    if "detail-type" in payload and isinstance(payload.get("detail"), dict):  # Amazon EventBridge's
        return {"event_id": payload.get("id"), "created_at": payload.get("time"), **payload["detail"]}
    is_plain = "data" not in payload and "data_base64" not in payload and ("text" in payload or "messages" in payload)
    if payload.get("specversion") is None or is_plain:
        return payload
    return cloud_event.payload_of_structured(payload, parse)
