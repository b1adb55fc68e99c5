"""The contract as documents for other teams: JSON Schemas, and one AsyncAPI document of the topics.

They are generated from the models, and a test compares the copies in `schemas/published/` with them. How many
partitions or replicas a topic has is the operator's choice and is not said here.
"""

import json
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from schemas.dead_letter import BROKER, OWN, DeadLetter
from schemas.event import ChatEvent
from schemas.shadow import SHADOW_RECORD, ShadowDisagreement, ShadowSummary
from schemas.turns.frame import DeltaFrame
from schemas.turns.verdict import StreamVerdict
from schemas.verdict import SCHEMA_VERSION, Source, Verdict

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BINDING = {"bindingVersion": "0.4.0"}
_NOT_ALWAYS = frozenset({"model_revision", "prompt_sha256", "raw_output_sha256", "value_dropped"})
_FIELD_OF_HEADER = {
    BROKER + "topic": "topic",
    BROKER + "partition": "partition",
    BROKER + "offset": "offset",
    BROKER + "group": "group",
    BROKER + "delivery.count": "attempts",
    BROKER + "message": "detail",
    OWN + "reason": "reason",
    OWN + "stage": "stage",
    OWN + "attempts": "attempts",
    OWN + "first_failed_at": "first_failed_at",
    OWN + "model_revision": "model_revision",
    OWN + "prompt_sha256": "prompt_sha256",
    OWN + "raw_output_sha256": "raw_output_sha256",
    OWN + "redrive_count": "redrive_count",
    OWN + "value_dropped": "value_dropped",
}
_CLOUD_EVENT_ATTRIBUTES = {
    "specversion": {"const": "1.0"},
    "id": {"type": "string", "minLength": 1, "maxLength": 256, "description": "the event id where the data has none"},
    "source": {"type": "string", "minLength": 1},
    "type": {"type": "string", "minLength": 1},
}


def documents() -> dict[str, str]:
    """File name to text of every published document; the same text at every call."""
    return {
        "chat_event.schema.json": _json_document("chat-event", ChatEvent.model_json_schema()),
        "verdict.schema.json": _json_document("verdict", Verdict.model_json_schema(mode="serialization")),
        "delta.schema.json": _json_document("delta", DeltaFrame.model_json_schema()),
        "stream_verdict.schema.json": _json_document(
            "stream-verdict", StreamVerdict.model_json_schema(mode="serialization")
        ),
        "shadow.schema.json": _json_document("shadow", SHADOW_RECORD.json_schema(mode="serialization")),
        "dead_letter_headers.schema.json": _json_document("dead-letter-headers", _dead_letter_headers()),
        "asyncapi.yaml": _yaml_document(_asyncapi()),
    }


def _json_document(name: str, schema: dict[str, Any]) -> str:
    head = {"$schema": _DIALECT, "$id": f"urn:weir:{name}:{SCHEMA_VERSION}"}
    return json.dumps({**head, **schema}, indent=2, ensure_ascii=False) + "\n"


def _yaml_document(content: dict[str, Any]) -> str:
    # Through JSON, because YAML would write an object that is used twice as an anchor and an alias.
    return yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False, allow_unicode=True, width=120)


def _dead_letter_headers() -> dict[str, Any]:
    model = DeadLetter.model_json_schema()
    fields = {**model["properties"], **Source.model_json_schema()["properties"]}
    properties = {
        header: _as_header(fields[field], model["$defs"]) for header, field in sorted(_FIELD_OF_HEADER.items())
    }
    properties[OWN + "null_headers"] = {
        "type": "string",
        "pattern": "^[0-9]+(,[0-9]+)*$",
        "description": "indices, from 0, of the original headers whose value was null and is empty here",
    }
    properties[OWN + "null_value"] = {"const": "true", "description": "there where the original value was null"}
    required = [header for header, field in sorted(_FIELD_OF_HEADER.items()) if field not in _NOT_ALWAYS]
    return {
        "title": "DeadLetterHeaders",
        "description": "Headers of a dead letter, as UTF-8 strings, after those of the original record.",
        "type": "object",
        "properties": properties,
        "required": required,
    }


def _as_header(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A field's schema as that of the string it becomes in a header."""
    kept = {name: value for name, value in field.items() if name in ("description", "maxLength")}
    if "$ref" in field:
        definition = definitions[field["$ref"].rpartition("/")[2]]
        return {"type": "string", "enum": definition["enum"], "description": definition["description"]}
    if field.get("type") == "integer":
        return {"type": "string", "pattern": "^[0-9]{1,19}$", **kept}
    if field.get("type") == "boolean":
        return {"const": "true", **kept}
    return {"type": "string", **kept}


def _asyncapi() -> dict[str, Any]:
    references, models = models_json_schema(
        [
            *((model, "validation") for model in (ChatEvent, DeltaFrame)),
            *((model, "serialization") for model in (Verdict, ShadowDisagreement, ShadowSummary, StreamVerdict)),
        ],
        ref_template="#/components/schemas/{model}",
    )
    event, verdict = references[ChatEvent, "validation"], references[Verdict, "serialization"]
    differs, summary = references[ShadowDisagreement, "serialization"], references[ShadowSummary, "serialization"]
    delta, said = references[DeltaFrame, "validation"], references[StreamVerdict, "serialization"]
    cloud_data = {**models["$defs"]["ChatEvent"], "required": []}
    headers = {f"ce_{name}": schema for name, schema in _CLOUD_EVENT_ATTRIBUTES.items()}
    messages = {
        "chatEvent": _message("A chat event as plain JSON", event, "the conversation, so that it keeps its order"),
        "chatEventBinary": {
            **_message("A chat event as a CloudEvent in binary mode", _ref("schemas/ChatEventData"), "as it is"),
            "headers": {"type": "object", "properties": headers, "required": sorted(headers)},
        },
        "chatEventStructured": {
            **_message("A chat event as a CloudEvent in structured mode", _ref("schemas/ChatCloudEvent"), "as it is"),
            "contentType": "application/cloudevents+json",
        },
        "verdict": _message("What Weir says of one event", verdict, "that of the event's record"),
        "shadowDisagreement": _message("What a candidate would have said of one event", differs, "the event id"),
        "shadowSummary": _message("What a candidate's lane did in some time", summary, "none"),
        "delta": _message("A piece of a turn, as it is written", delta, "the conversation, so that it keeps its order"),
        "streamVerdict": _message("What a turn is, while it is written and at its end", said, "that of its deltas"),
        "deadLetter": {
            "summary": "A record that got no verdict: its own key, value and headers, and why",
            "contentType": "application/octet-stream",
            "headers": _ref("schemas/DeadLetterHeaders"),
            "payload": {"description": "the original bytes, whatever they are"},
            "bindings": {"kafka": {"key": {"type": "string", "description": "that of the record"}, **_BINDING}},
        },
    }
    cloud_event = {
        "title": "ChatCloudEvent",
        "type": "object",
        "properties": {**_CLOUD_EVENT_ATTRIBUTES, "data": _ref("schemas/ChatEventData")},
        "required": [*_CLOUD_EVENT_ATTRIBUTES, "data"],
    }
    own = {"ChatEventData": cloud_data, "ChatCloudEvent": cloud_event, "DeadLetterHeaders": _dead_letter_headers()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Weir",
            "version": SCHEMA_VERSION,
            "description": "Chat events in; for each of them one verdict or one dead letter out, at least once.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": _channel("chat.events", "chatEvent", "chatEventBinary", "chatEventStructured"),
            "verdicts": _channel("moderation.verdicts", "verdict"),
            "deadLetters": _channel("moderation.dlq", "deadLetter"),
            "shadow": _channel("moderation.shadow", "shadowDisagreement", "shadowSummary"),
            "deltas": _channel("chat.deltas", "delta"),
            "stream": _channel("moderation.stream", "streamVerdict"),
        },
        "operations": {
            "receiveEvent": {
                "action": "receive",
                "channel": {"$ref": "#/channels/events"},
                "bindings": {"kafka": {"groupId": {"type": "string", "default": "weir"}, **_BINDING}},
            },
            "sendVerdict": {"action": "send", "channel": {"$ref": "#/channels/verdicts"}},
            "sendDeadLetter": {"action": "send", "channel": {"$ref": "#/channels/deadLetters"}},
            "sendShadow": {"action": "send", "channel": {"$ref": "#/channels/shadow"}},
            "receiveDelta": {
                "action": "receive",
                "channel": {"$ref": "#/channels/deltas"},
                "bindings": {"kafka": {"groupId": {"type": "string", "default": "weir-deltas"}, **_BINDING}},
            },
            "sendStreamVerdict": {"action": "send", "channel": {"$ref": "#/channels/stream"}},
        },
        "components": {"messages": messages, "schemas": {**models["$defs"], **own}},
    }


def _ref(target: str) -> dict[str, Any]:
    return {"$ref": f"#/components/{target}"}


def _channel(topic: str, *messages: str) -> dict[str, Any]:
    return {
        "address": topic,
        "messages": {message: _ref(f"messages/{message}") for message in messages},
        "bindings": {"kafka": {"topic": topic, "topicConfiguration": {"cleanup.policy": ["delete"]}, **_BINDING}},
    }


def _message(summary: str, payload: dict[str, Any], key: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "contentType": "application/json",
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, **_BINDING}},
    }
