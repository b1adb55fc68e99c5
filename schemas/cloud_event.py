"""Finds the event within a CloudEvent, in binary or structured mode.

The library makes up what is missing and accepts more than the specification allows, so what it reads is checked here.
"""

from collections.abc import Callable, Set
from typing import Any

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import CE_PREFIX as BINARY_PREFIX
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, from_structured
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat

from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.record import Headers

STRUCTURED_TYPE = "application/cloudevents+json"
_REQUIRED_ATTRIBUTES = frozenset(("id", "source", "type", "specversion"))
_SPEC_ATTRIBUTES = _REQUIRED_ATTRIBUTES | {"time", "subject", "datacontenttype", "dataschema"}
_FORMAT = JSONFormat()
Parse = Callable[[bytes], dict[str, Any]]
__all__ = ["BINARY_PREFIX", "STRUCTURED_TYPE", "payload_of_binary", "payload_of_structured"]


def payload_of_structured(content_type: str, value: bytes, parse: Parse) -> dict[str, Any]:
    """The data of a CloudEvent whose attributes are in the value, with its id and time.

    Args:
        content_type: of the record.
        value: of the record.
        parse: reads a JSON object, or raises EventError.

    Raises:
        EventError: it is none, or its data is no event.
    """
    if content_type != STRUCTURED_TYPE:
        raise EventError(Reason.INVALID_CLOUDEVENT, "content-type: Kafka has structured JSON and binary mode only")
    given: Set[str] = parse(value).keys()
    event = _read_cloud_event(KafkaMessage({}, None, value), given, structured=True)
    data = event.get_data()
    if isinstance(data, bytes):
        return _with_attributes(parse(data), event, given)
    if not isinstance(data, dict):
        raise EventError(Reason.INVALID_CLOUDEVENT, f"data: a JSON object is needed, found {type(data).__name__}")
    return _with_attributes(data, event, given)


def payload_of_binary(headers: Headers, payload: dict[str, Any]) -> dict[str, Any]:
    """The data of a CloudEvent whose attributes are headers, with its id and time.

    Args:
        headers: of the record.
        payload: its value, read.

    Raises:
        EventError: an attribute is missing or invalid.
    """
    # The library checks the attributes; the data was checked by our own stricter reader.
    attributes = {
        name.lower(): item for name, item in headers if item is not None and name.lower().startswith(BINARY_PREFIX)
    }
    given = {name.removeprefix(BINARY_PREFIX) for name in attributes}
    event = _read_cloud_event(KafkaMessage(attributes, None, b"{}"), given, structured=False)
    return _with_attributes(payload, event, given)


def _read_cloud_event(message: KafkaMessage, given: Set[str], *, structured: bool) -> BaseCloudEvent:
    # The library makes up what is missing: a random id, the present time, a version.
    missing = ", ".join(sorted(_REQUIRED_ATTRIBUTES - given))
    if missing:
        raise EventError(Reason.INVALID_CLOUDEVENT, f"attributes missing: {missing}")
    read = from_structured if structured else from_binary
    try:
        return read(message, _FORMAT)
    except CloudEventValidationError as error:
        # Extension names are the sender's own words; only names of the specification are repeated.
        wrong = ", ".join(sorted(_SPEC_ATTRIBUTES.intersection(error.errors))) or "an extension"
        raise EventError(Reason.INVALID_CLOUDEVENT, f"attributes missing or invalid: {wrong}") from None
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        mode = "structured" if structured else "binary"
        raise EventError(Reason.INVALID_CLOUDEVENT, f"not a CloudEvent in {mode} mode") from None


def _with_attributes(payload: dict[str, Any], cloud_event: BaseCloudEvent, given: Set[str]) -> dict[str, Any]:
    payload.setdefault("event_id", cloud_event.get_id())
    if "time" in given:
        payload.setdefault("created_at", cloud_event.get_time())
    return payload
