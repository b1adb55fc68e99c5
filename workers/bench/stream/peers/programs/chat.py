"""What every peer does with one record: the same work as Weir with a guard that answers at once.

It decodes and validates the chat event, judges it Safe, builds a verdict of Weir's own fields, and passes the W3C trace
context on. It is written anew, because a peer imports nothing of Weir; the harness reads every result with Weir's own
model. Where there was a choice, the faster way was taken: bytes to model in one step of pydantic, and the verdict as a
plain dictionary that nothing validates again.
"""

import argparse
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import to_json

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=256, strict=True)]
PARTS = ("stub", "0", "0", "stub", "none", "1")
PROVENANCE = dict(zip(("model", "revision", "prompt_sha256", "engine", "dtype", "parser"), PARTS, strict=True))
POLICY_SHA256 = hashlib.sha256(b"policy").hexdigest()
POLICY = {"name": "default", "version": "1", "sha256": POLICY_SHA256, "treated_as": "Safe"}
USAGE = {
    "prompt_tokens": 300,
    "output_tokens": 8,
    "windows": 1,
    "length_policy": "whole",
    "characters_dropped": 0,
}
CONTENT_TYPE = ("content-type", b"application/json")
_VERDICT_ID = hashlib.sha256("\x1f".join((*PARTS, POLICY_SHA256)).encode())


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, StringConstraints(strict=True, min_length=0)]


class ChatEvent(BaseModel):
    """The event of Weir's contract: `messages`, or the shorthand `text`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: str = Field("1.0", pattern=r"^1\.[0-9]{1,4}$")
    event_id: Identifier
    conversation_id: Identifier | None = None
    tenant: Identifier = "default"
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=1024)]
    created_at: datetime | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and "text" in data and "messages" not in data:
            expanded = data.copy()
            expanded["messages"] = ({"role": "user", "content": expanded.pop("text")},)
            return expanded
        return data


def verdict_of(value: bytes, topic: str, partition: int, offset: int, timestamp_ms: int) -> bytes:
    """The verdict on one record, as JSON.

    Raises:
        ValidationError: the value is not a chat event.
    """
    event = ChatEvent.model_validate_json(value)
    digest = _VERDICT_ID.copy()
    digest.update(f"\x1e{topic}\x1f{partition}\x1f{offset}\x1f{timestamp_ms}\x1f{event.event_id}".encode())
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return to_json(
        {
            "schema_version": "1.0",
            "verdict_id": digest.hexdigest()[:32],
            "event_id": event.event_id,
            "conversation_id": event.conversation_id,
            "tenant": event.tenant,
            "task": "response" if event.messages[-1].role == "assistant" else "prompt",
            "severity": "Safe",
            "categories": (),
            "refusal": None,
            "scores": None,
            "action": "allow",
            "policy": POLICY,
            "source": {"topic": topic, "partition": partition, "offset": offset},
            "provenance": PROVENANCE,
            "usage": USAGE,
            "handling": {},
            "timing": {"received_at": now, "judged_at": now, "queue_ms": 0.0, "guard_ms": 0.0},
        }
    )


def result_headers(headers: Iterable[tuple[str, bytes]] | None) -> list[tuple[str, bytes]]:
    """Headers of the result: its content type, and the trace context of the record as it came."""
    trace = [(name, value) for name, value in headers or () if name in ("traceparent", "tracestate")]
    return [CONTENT_TYPE, *trace]


def arguments(description: str | None) -> argparse.Namespace:
    """`bootstrap_servers`, `group`, `events`, `results`, `state` and `compression`, as the harness gives them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("bootstrap_servers")
    parser.add_argument("group", help="consumer group; new for each run")
    parser.add_argument("events", help="topic to read, from its beginning")
    parser.add_argument("results", help="topic to write")
    parser.add_argument("state", help="a folder of this group, empty at first")
    parser.add_argument("compression", choices=("none", "gzip", "snappy", "lz4", "zstd"))
    return parser.parse_args()
