"""An event's fields as producers, databases and files write them, made into the contract's own.

What nobody can do without is refused where it is missing or wrong. A field that may be left out is unset where it is
null or empty.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from schemas.errors import EventError
from schemas.handling import Handled, Handling
from schemas.reading import json_text
from schemas.reading.moments import read_moment
from schemas.reading.turns import Counts, normal_turns, refuse_without_text, text_of, whole_characters
from schemas.reasons import Reason

_MOST_EXACT = 2**53  # whole numbers up to there are exact as a float
_IDS_OF_MONGO = ("$oid", "$numberLong", "$numberInt", "$uuid")


def normal_form(payload: Mapping[str, Any], major_version: int) -> tuple[dict[str, Any], Handling]:
    """The fields of an event in the contract's own form, and what had to be done for it.

    Args:
        payload: an event as it came: decoded JSON, or a row of a file with Python's own values.
        major_version: the version of the contract that is read.

    Raises:
        EventError: it cannot be judged; names the field.
    """
    counts: Counts = Counter()
    normal: dict[str, Any] = {}
    version = payload.get("schema_version")
    if not _is_unset(version):
        normal["schema_version"] = _version(version, major_version)
    if payload.get("event_id") is None:
        raise EventError(Reason.MISSING_FIELD, "event_id: missing")
    normal["event_id"] = identifier("event_id", payload["event_id"], counts)
    for name in ("conversation_id", "tenant"):
        if not _is_unset(value := payload.get(name)):
            normal[name] = identifier(name, value, counts)
    normal["messages"] = _messages(payload, counts)
    if not _is_unset(value := payload.get("created_at")):
        try:
            normal["created_at"] = read_moment(value)
        except ValueError:
            counts[Handled.CREATED_AT_UNREADABLE] += 1
    return normal, {code: counts[code] for code in Handled if counts[code]}


def _is_unset(value: Any) -> bool:
    return value is None or value == ""


def _version(value: Any, major_version: int) -> str:
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    if text is None:
        raise EventError(Reason.WRONG_TYPE, "schema_version: a text is needed")
    major, _, minor = text.partition(".")
    if major.isdecimal() and len(major) <= 4 and int(major) != major_version:
        raise EventError(
            Reason.UNSUPPORTED_VERSION, f"schema_version: major {int(major)}, this worker reads {major_version}"
        )
    return f"{major}.{minor or 0}"


def identifier(name: str, value: Any, counts: Counts) -> str:
    """An id as a text: the exact digits of a whole number.

    Raises:
        EventError: it is neither a text nor a whole number; names the field.
    """
    if isinstance(value, Mapping) and len(value) == 1:  # as MongoDB exports it
        value = next((value[name] for name in _IDS_OF_MONGO if name in value), value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise EventError(Reason.WRONG_TYPE, f"{name}: a text or a whole number is needed")
    return whole_characters(str(value), counts)


def _messages(payload: Mapping[str, Any], counts: Counts) -> list[dict[str, str]]:
    messages, text = payload.get("messages"), payload.get("text")
    if not _is_empty(messages) and not _is_empty(text):
        raise EventError(Reason.INVALID_VALUE, "messages: text and messages exclude each other, both are given")
    if messages is None or (_is_empty(messages) and not _is_empty(text)):
        if "text" not in payload and not payload.get("attachments"):
            raise EventError(Reason.MISSING_FIELD, "messages: missing")
        joined = text_of(text, counts)
        refuse_without_text("text", text, joined)
        return [{"role": "user", "content": joined or ""}]
    messages = turns_in(messages)
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise EventError(Reason.WRONG_TYPE, f"messages: a list is needed, found {type(messages).__name__}")
    if not messages:
        raise EventError(Reason.EMPTY_MESSAGES, "messages: empty")
    return normal_turns(messages, counts)


def turns_in(messages: Any) -> Any:
    """The turns that a text holds as JSON, as where a table has no lists; anything else as it is."""
    if not isinstance(messages, str) or messages.lstrip()[:1] != "[":
        return messages
    try:
        return json_text.read(messages.encode("utf-8", "surrogatepass"))
    except EventError:
        return messages


def _is_empty(value: Any) -> bool:
    """Whether a producer that writes every field has left this one out."""
    return value is None or (isinstance(value, str | Sequence) and not value)
