"""The chat event: what a producer asks to have judged.

Unknown fields of a known major version are ignored, so that a producer may add one without losing its topic.
Does not read bytes; `schemas.event_codec` does.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

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
