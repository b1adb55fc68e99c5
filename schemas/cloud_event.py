"""Finds the event within a CloudEvent, in binary or structured mode.

The required attributes are checked. What nobody reads, as extensions and their names, costs no message its judgement;
an attribute that is null is unset, as the specification (2.2) says. The library makes up what is missing, so that is
looked at here.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import CE_PREFIX as BINARY_PREFIX
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.record import Headers

MEDIA_TYPES = "application/cloudevents"
STRUCTURED_TYPE = MEDIA_TYPES + "+json"
_REQUIRED_ATTRIBUTES = ("id", "source", "specversion", "type")
_FORMAT = JSONFormat()
Parse = Callable[[bytes], dict[str, Any]]
# Kafka's own, and those of HTTP and AMQP, which Spring and Azure Event Hubs hand on.
BINARY_PREFIXES = (BINARY_PREFIX, "ce-", "cloudevents:", "cloudevents_")
BINARY_NAMES = frozenset(prefix + name for prefix in BINARY_PREFIXES for name in _REQUIRED_ATTRIBUTES)
"""Headers that tell of a CloudEvent; a stray one with such a prefix does not."""
_AMQP_TEXTS = ((0xA1, 1), (0xB1, 4))  # a text of AMQP: this byte, its length in so many bytes, itself


def payload_of_structured(event: Mapping[str, Any], parse: Parse) -> dict[str, Any]:
    """The data of a CloudEvent whose attributes are in the value, with its id and time.

    Args:
        event: the value, read.
        parse: reads a JSON object, or raises EventError.

    Raises:
        EventError: it is no CloudEvent, or its data is no event; `tombstone` where it has none.
    """
    attributes = {name: _text(event[name]) for name in _REQUIRED_ATTRIBUTES if event.get(name) is not None}
    cloud_event = _checked(attributes, lambda: CloudEvent(dict(attributes)))
    data, encoded = event.get("data"), event.get("data_base64")
    if data is None and encoded is not None:
        data = _decoded(encoded)
    if data in (None, "") and not event.keys() & {"text", "messages"}:
        raise EventError(Reason.TOMBSTONE, "data: none, as of what was deleted")
    if isinstance(data, str) and data.lstrip()[:1] == "{":  # JSON that was written as a text, as Dapr does
        data = data.encode("utf-8", "surrogatepass")
    if isinstance(data, bytes):
        data = parse(data)
    if not isinstance(data, dict):
        raise EventError(Reason.INVALID_CLOUDEVENT, f"data: a JSON object is needed, found {type(data).__name__}")
    return _with_attributes(data, cloud_event, event.get("time"))


def payload_of_binary(headers: Headers, payload: dict[str, Any]) -> dict[str, Any]:
    """The data of a CloudEvent whose attributes are headers, with its id and time.

    Args:
        headers: of the record.
        payload: its value, read.

    Raises:
        EventError: a required attribute is missing or invalid.
    """
    given = {
        lower[len(prefix) :]: _unquoted(header_text(item))
        for name, item in headers
        if item is not None and (lower := name.lower()).startswith(BINARY_PREFIXES)
        for prefix in BINARY_PREFIXES
        if lower.startswith(prefix)
    }
    attributes = {name: given[name] for name in _REQUIRED_ATTRIBUTES if name in given}
    message = KafkaMessage({BINARY_PREFIX + name: item for name, item in attributes.items()}, None, b"{}")
    time = given.get("time")
    return _with_attributes(
        payload,
        _checked(attributes, lambda: from_binary(message, _FORMAT)),
        None if time is None else unquote(time.decode("utf-8", "replace")),
    )


def header_text(value: bytes) -> bytes:
    """A header's value without AMQP's frame around it, as Azure Event Hubs hands it on."""
    for mark, size in _AMQP_TEXTS:
        if value[:1] == bytes([mark]) and int.from_bytes(value[1 : 1 + size], "big") == len(value) - 1 - size:
            return value[1 + size :]
    return value


def _checked(attributes: Mapping[str, object], read: Callable[[], BaseCloudEvent]) -> BaseCloudEvent:
    # The library makes up what is missing: a random id, the present time, a version.
    missing = ", ".join(name for name in _REQUIRED_ATTRIBUTES if name not in attributes)
    if missing:
        raise EventError(Reason.INVALID_CLOUDEVENT, f"attributes missing: {missing}")
    try:
        return read()
    except CloudEventValidationError as error:
        wrong = ", ".join(name for name in _REQUIRED_ATTRIBUTES if name in error.errors)
        raise EventError(Reason.INVALID_CLOUDEVENT, f"attributes missing or invalid: {wrong}") from None
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        raise EventError(Reason.INVALID_CLOUDEVENT, "attributes: not those of a CloudEvent") from None


def _text(value: object) -> object:
    """An attribute's value; a number, as an id or a version may be written, as its digits."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _unquoted(value: bytes) -> bytes:
    """A header's value; Spring's older versions write it as JSON."""
    return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value


def _decoded(encoded: object) -> bytes:
    try:
        return b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except ValueError:
        raise EventError(Reason.INVALID_CLOUDEVENT, "data_base64: not base64") from None


def _with_attributes(payload: dict[str, Any], cloud_event: BaseCloudEvent, time: object) -> dict[str, Any]:
    """The data, with what it leaves unset."""
    if payload.get("event_id") in (None, ""):
        payload["event_id"] = cloud_event.get_id()
    if payload.get("created_at") in (None, "") and time is not None:
        payload["created_at"] = time
    return payload
