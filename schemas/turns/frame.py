"""The delta frame: a piece of a turn, as it arrives over Kafka or HTTP.

Strict, unlike an event: a field that does not exist may be a `final` that was misspelt, and its turn would never end.
Each way in which a frame can be wrong raises `EventError`, which names the field. Knows nothing of frames before it.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from schemas import event_faults
from schemas.cut_value import CutValue
from schemas.errors import EventError
from schemas.event import Identifier, Message
from schemas.reading import json_text
from schemas.reasons import Reason
from schemas.suggestion import did_you_mean

MOST = 2**53 - 1  # whole numbers up to there are exact in every language's JSON
PIECE_CHARACTERS: Final = 64  # what a frame or a message costs beside its text, as so many characters
TurnRole = Literal["user", "assistant"]
Number = Annotated[int, Field(ge=0, le=MOST, strict=True)]
_MISSING = "missing"
_UNKNOWN = "extra_forbidden"


class DeltaFrame(BaseModel):
    """A piece of one turn: what was written since the frame before it.

    Frames of a turn are numbered from 0 on. The first one brings the turns before it. A frame may come again, and says
    the same then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["1.0"] = Field("1.0", description="version of this contract")
    conversation_id: Identifier = Field(description="the conversation; in Kafka, the record's key")
    tenant: Identifier = Field("default", description="whose conversation it is")
    turn: Number = Field(description="number of the turn in its conversation")
    role: TurnRole = Field(
        "assistant", description="whose turn it is: an answer is judged at each token, a user's turn at its end"
    )
    seq: Number = Field(description="number of the frame in its turn, from 0")
    offset: Number | None = Field(
        None, description="characters (Unicode code points) of the turn before this delta; checked where it is given"
    )
    messages: tuple[Message, ...] | None = Field(
        None,
        description="with seq 0: the turns before this one, oldest first; those before an answer end with the user's",
    )
    delta: Annotated[str, StringConstraints(strict=True)] = Field("", description="what comes next of the turn's text")
    final: Annotated[bool, Field(strict=True)] = Field(False, description="nothing more of this turn will come")

    @model_validator(mode="after")
    def _messages_come_first(self) -> Self:
        if (self.messages is not None) and self.seq:
            raise ValueError
        return self

    @property
    def message_texts(self) -> tuple[str, ...]:
        """The contents of the turns before."""
        return tuple(message["content"] for message in self.messages or ())


def decode_frame(value: bytes | None, max_bytes: int) -> DeltaFrame:
    """Decode one frame: a record's value, or a line.

    Args:
        value: JSON in UTF-8.
        max_bytes: largest value accepted.

    Raises:
        EventError: with the reason code; the text names fields, never their content.
    """
    if value is None:
        raise EventError(Reason.TOMBSTONE, "value: null (a tombstone)")
    if len(value) > max_bytes or isinstance(value, CutValue):
        raise event_faults.too_large(value, max_bytes)
    return read_frame(json_text.read(value))


def read_frame(payload: Any) -> DeltaFrame:
    """The frame of decoded JSON.

    Raises:
        EventError: it is none; with the reason code, naming the field, never its content.
    """
    if not isinstance(payload, dict):
        raise EventError(Reason.WRONG_TYPE, f"value: a JSON object is needed, found {type(payload).__name__}")
    version = payload.get("schema_version", "1.0")
    if isinstance(version, str) and version.partition(".")[0] not in ("", "1"):
        raise EventError(Reason.UNSUPPORTED_VERSION, "schema_version: this worker reads 1.0")
    try:
        frame = DeltaFrame.model_validate(payload)
    except ValidationError as error:
        fault = _fault(error, payload)
    else:
        if not _is_whole(frame):
            raise EventError(Reason.LONE_SURROGATE, f"{_broken_field(frame)}: holds half a character")
        return frame
    raise fault  # here, so that it does not hold pydantic's, which holds the content


def characters_of(messages: Iterable[Message]) -> int:
    """About how many characters messages take, with what each costs beside its text."""
    return sum(len(message["content"]) + PIECE_CHARACTERS for message in messages)


def _is_whole(frame: DeltaFrame) -> bool:
    return _has_utf8(frame.delta) and all(map(_has_utf8, frame.message_texts)) and _has_utf8(frame.conversation_id)


def _broken_field(frame: DeltaFrame) -> str:
    if not _has_utf8(frame.delta):
        return "delta"
    return "conversation_id" if not _has_utf8(frame.conversation_id) else "messages"


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fault(error: ValidationError, payload: dict[Any, Any]) -> EventError:
    """The first thing that is wrong with a frame, in the words of our own reasons."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    first = next((fault for fault in faults if fault["type"] in (_MISSING, _UNKNOWN)), faults[0])
    name = str(first["loc"][0]) if first["loc"] else "messages"
    if first["type"] == _MISSING:
        return EventError(Reason.MISSING_FIELD, f"{'.'.join(map(str, first['loc']))}: missing")
    if first["type"] == _UNKNOWN:  # its name may be anything
        return EventError(
            Reason.INVALID_VALUE, f"a field that no frame has{did_you_mean(name, DeltaFrame.model_fields)}"
        )
    if first["type"] == "string_unicode":
        return EventError(Reason.LONE_SURROGATE, f"{name if first['loc'] else 'a field name'}: holds half a character")
    if not first["loc"]:
        return EventError(Reason.INVALID_VALUE, f"messages: come with seq 0, and this is seq {payload['seq']}")
    value = payload.get(name)
    field = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in _SHOWN)
    shown = f" {value!r}" if isinstance(value, int) and abs(value) < MOST * 2 else ""
    reason = Reason.WRONG_TYPE if first["type"].endswith("_type") else Reason.INVALID_VALUE
    return EventError(reason, f"{field or name}:{shown} {first['type']}")


_SHOWN = frozenset({*DeltaFrame.model_fields, "role", "content"})
