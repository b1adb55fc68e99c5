"""The chat event: what a producer asks to have judged, as plain JSON or as a CloudEvent in binary or structured mode.

Unknown fields of a known major version are ignored, so that a producer may add one without losing its topic. What is
not in the contract's own form is read by `schemas.reading`, which every lane shares and an ordinary event never enters.
Each way in which bytes can be wrong raises `EventError` with a reason of its own. Does not decide what happens then.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)  # fmt: skip
from pydantic_core import from_json
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from schemas import cloud_event, event_faults
from schemas.cut_value import CutValue
from schemas.errors import EventError
from schemas.handling import UNTOUCHED, Handling
from schemas.reading import envelope, json_text
from schemas.reading.fields import normal_form
from schemas.reading.moments import moment_or_none
from schemas.reasons import Reason
from schemas.record import SourceRecord

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

    Give `messages`, or the shorthand `text` for one user message. Other usual forms are read as well and become this
    one: content parts, roles of tools and developers, times and ids as numbers, and more; the verdict says what of it
    was repaired, dropped or not assessed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra=_describe_shorthand)

    schema_version: str = Field(
        "1.0", pattern=rf"^{MAJOR_VERSION}\.[0-9]{{1,4}}$", description="major.minor of this contract"
    )
    event_id: Identifier = Field(description="unique id given by the producer")
    conversation_id: Identifier | None = Field(None, description="id of the conversation the messages belong to")
    tenant: Identifier = Field("default", description="whose policy applies")
    messages: Annotated[tuple[Message, ...], Field(min_length=1)] = Field(
        description="turns, oldest first; the last one is judged (user: prompt task, assistant: response task)",
    )
    created_at: Annotated[datetime | None, BeforeValidator(moment_or_none)] = Field(
        None, description="when the message was written, RFC 3339"
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_text(cls, data: Any) -> Any:
        # Expanded here, so that `text` never exists beside `messages` in the model.
        if not isinstance(data, dict) or "text" not in data:
            return data
        if "messages" in data:
            raise ValueError
        return {**data, "messages": ({"role": "user", "content": data["text"]},)}

    @property
    def task(self) -> Task:
        """Prompt task where the last role is user, response task where it is assistant."""
        return Task.RESPONSE if self.messages[-1]["role"] == "assistant" else Task.PROMPT

    @property
    def handling(self) -> Handling:
        """What had to be done to what came, to make this event of it."""
        return UNTOUCHED


class MendedEvent(ChatEvent):
    """An event that did not come in the contract's own form."""

    _handling: Handling = PrivateAttr(default_factory=dict)

    @property
    def handling(self) -> Handling:
        """See `ChatEvent`."""
        return self._handling


# As `model_validate`, without its options: once for every message.
_read_ordinary = ChatEvent.__pydantic_validator__.validate_python


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
    if len(record.value) > max_bytes or isinstance(record.value, CutValue):
        raise event_faults.too_large(record.value, max_bytes)
    return read_event(_payload(record, record.value))


def read_event(payload: Mapping[str, Any]) -> ChatEvent:
    """The event of decoded JSON, or of a file's row with Python's own values: the same in every lane.

    Raises:
        EventError: it cannot be judged; with the reason code, naming fields, never their content.
    """
    try:
        event: ChatEvent = _read_ordinary(payload)
        if _is_shown_whole(event.messages):
            return event
    except ValidationError:
        pass  # not in the contract's own form
    normal, handling = normal_form(payload, MAJOR_VERSION)
    try:
        mended = MendedEvent.model_validate(normal)
    except ValidationError as error:
        fault = event_faults.of_fields(error)
    else:
        mended._handling = handling  # noqa: SLF001
        return mended
    raise fault  # here, so that it does not hold pydantic's, which holds the content


def _payload(record: SourceRecord, value: bytes) -> dict[str, Any]:
    is_structured, is_binary = envelope.mode_of(record.headers, value) if record.headers else (False, False)
    payload = _parse_object(value)
    if is_structured:
        return cloud_event.payload_of_structured(payload, _parse_object)
    if is_binary:
        return cloud_event.payload_of_binary(record.headers, payload)
    if "event_id" not in payload or "specversion" in payload:
        return envelope.opened(payload, _parse_object)
    return payload


def _parse_object(value: bytes) -> dict[str, Any]:
    try:
        payload = from_json(value)
    except ValueError:
        payload = json_text.read_slowly(value)
    return payload if isinstance(payload, dict) else envelope.object_in(payload, _parse_object)


def _is_shown_whole(messages: tuple[Message, ...]) -> bool:
    """Whether the chat template shows every turn, and there is something to judge."""
    first, *others = [message["role"] for message in messages]
    is_judgeable = first != "assistant" and "system" not in others and (others or first == "user")
    return bool(is_judgeable and messages[-1]["content"].strip())
