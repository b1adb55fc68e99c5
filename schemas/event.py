"""The chat event: what a producer asks to have judged, as plain JSON or as a CloudEvent in binary or structured mode.

Unknown fields of a known major version are ignored, so that a producer may add one without losing its topic.
Each way in which bytes can be wrong raises `EventError` with a reason of its own. Does not decide what happens then.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError, from_json
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from schemas import cloud_event, event_faults
from schemas.errors import EventError
from schemas.reasons import Reason
from schemas.record import Headers, SourceRecord

MAJOR_VERSION = 1

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=256, strict=True)]
Role = Literal["system", "user", "assistant"]


class Task(StrEnum):
    """What is judged: the last user turn, or the last assistant turn."""

    PROMPT = "prompt"
    RESPONSE = "response"


class Message(TypedDict):
    """One turn of a conversation, in the form that chat templates take."""

    role: Role
    # With a constraint, pydantic looks into the string and refuses lone surrogates; without one it does not.
    content: Annotated[str, StringConstraints(strict=True, min_length=0)]


def _describe_shorthand(schema: dict[str, Any]) -> None:
    schema["properties"]["text"] = {"type": "string", "description": "shorthand for one user message"}
    schema["required"].remove("messages")
    schema["oneOf"] = [{"required": ["messages"]}, {"required": ["text"]}]


class ChatEvent(BaseModel):
    """One request to judge the last message of a conversation.

    Give `messages`, or the shorthand `text` for one user message.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra=_describe_shorthand)

    schema_version: str = Field(
        "1.0", pattern=rf"^{MAJOR_VERSION}\.[0-9]{{1,4}}$", description="major.minor of this contract"
    )
    event_id: Identifier = Field(description="unique id given by the producer")
    conversation_id: Identifier | None = Field(None, description="id of the conversation the messages belong to")
    tenant: Identifier = Field("default", description="whose policy applies")
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=1024)] = Field(
        description="turns, oldest first; the last one is judged (user: prompt task, assistant: response task)",
    )
    created_at: datetime | None = Field(None, description="when the message was written, RFC 3339")

    @model_validator(mode="before")
    @classmethod
    def _expand_text(cls, data: Any) -> Any:
        # Expanded here, so that `text` never exists beside `messages` in the model.
        if not isinstance(data, dict) or "text" not in data:
            return data
        if "messages" in data:
            raise PydanticCustomError("text_and_messages", "text and messages exclude each other, both are given")
        expanded = data.copy()
        expanded["messages"] = ({"role": "user", "content": expanded.pop("text")},)
        return expanded

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Self:
        """Validate decoded JSON, as `model_validate` does, without its options: once for every message.

        Raises:
            ValidationError: pydantic's, naming each field.
        """
        event: Self = cls.__pydantic_validator__.validate_python(payload)
        return event

    @property
    def task(self) -> Task:
        """Prompt task where the last role is user, response task where it is assistant."""
        return Task.RESPONSE if self.messages[-1]["role"] == "assistant" else Task.PROMPT


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
        payload = event_faults.read_slowly(value)
    if value.count(b"{") + value.count(b"[") > event_faults.MAX_DEPTH:
        event_faults.refuse_deep(payload)
    if not isinstance(payload, dict):
        raise EventError(Reason.WRONG_TYPE, f"value: a JSON object is needed, found {type(payload).__name__}")
    return payload


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
        fault = event_faults.of_fields(error)
    raise fault  # here, so that it does not hold pydantic's, which holds the content


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
