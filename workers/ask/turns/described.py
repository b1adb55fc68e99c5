"""What the OpenAPI document says of turns that are judged while they are written, and the AsyncAPI document of the
WebSocket, whose messages are alike.

Tests hold real answers against both.
"""

from collections.abc import Mapping
from typing import Any, Final, get_args

from schemas.turns.frame import DeltaFrame
from schemas.turns.verdict import StreamProvenance, StreamVerdict, TurnEnd
from workers.ask.turns.http import PATH, SOCKET_PATH

Schema = dict[str, Any]
_TEXT: Final[Schema] = {"type": "string"}
_BOOL: Final[Schema] = {"type": "boolean"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_ANSWER = {
    "conversation_id": _TEXT,
    "tenant": _TEXT,
    "turn": _COUNT,
    "seq": {**_COUNT, "description": "number of the frame that is to come next"},
    "offset": {**_COUNT, "description": "characters of the turn that have come"},
    "after": {**_COUNT, "description": "settled tokens so far; sent back, it acknowledges them"},
    "raised": {**_BOOL, "description": "the turn's own text is flagged"},
    "user_raised": {**_BOOL, "description": "the user's turn is flagged"},
    "raised_so_far": {**_BOOL, "description": "provisional tokens flag the text; what comes next can still undo that"},
    "end": {"enum": [None, *get_args(TurnEnd)]},
    "verdicts": {"type": "array", "items": {"$ref": "#/components/schemas/StreamVerdict"}},
    "tokens": {"type": "array", "items": {"$ref": "#/components/schemas/StreamToken"}},
    "provenance": {"oneOf": [{"$ref": "#/components/schemas/StreamProvenance"}, {"type": "null"}]},
}
_SAID_BACK: Final[Schema] = {"type": ["string", "integer"], "description": "as the frame had it"}
_PLACE = ("conversation_id", "tenant", "turn", "seq", "offset", "after")
_TOKEN_FIELDS = ("index", "offset", "role", "risk", "category", "probabilities", "provisional", "raised")


def components() -> dict[str, Schema]:
    """Schemas by name, whose own parts stand within them."""
    verdict = StreamVerdict.model_json_schema(mode="serialization")
    token = {name: verdict["properties"][name] for name in _TOKEN_FIELDS}
    frame = DeltaFrame.model_json_schema()
    properties = {**frame["properties"], "after": {**_COUNT, "description": "settled tokens that the sender has"}}
    return {
        "StreamFrame": {
            **frame,
            "title": "StreamFrame",
            "description": "A frame as on Kafka. It has `seq`, or `offset`, or both.",
            "properties": properties,
            "required": [],
            "anyOf": [{"required": ["seq"]}, {"required": ["offset"]}],
        },
        "StreamVerdict": {**verdict, "title": "StreamVerdict"},
        "StreamToken": {
            "title": "StreamToken",
            "type": "object",
            "properties": token,
            "required": list(token),
            "$defs": verdict.get("$defs", {}),
        },
        "StreamProvenance": {**StreamProvenance.model_json_schema(), "title": "StreamProvenance"},
        "StreamAnswer": {
            "title": "StreamAnswer",
            "type": "object",
            "properties": _ANSWER,
            "required": list(_ANSWER),
        },
    }


def paths(refusals: Schema) -> dict[str, Schema]:
    """The operations; `refusals` are responses by status that all routes share."""
    answer = _json("answered", {"$ref": "#/components/schemas/StreamAnswer"})
    refusal = refusals["400"]["content"]
    conflict = {"description": "the frame does not fit its turn; `error.expected` says what would", "content": refusal}
    place = {"name": "conversation_id", "in": "path", "required": True, "schema": {**_TEXT, "maxLength": 256}}
    queries = [
        {"name": name, "in": "query", "schema": schema}
        for name, schema in (("turn", _COUNT), ("after", _COUNT), ("tenant", _TEXT))
    ]
    return {
        PATH: {
            "parameters": [place],
            "post": {
                "operationId": "v1_stream_frame",
                "summary": "What comes next of a turn that is being written, and what is said of it.",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/StreamFrame"}}},
                },
                "responses": {"200": answer, "409": conflict, **refusals},
            },
            "get": {
                "operationId": "v1_stream_known",
                "summary": "What is known of a turn.",
                "parameters": queries,
                "responses": {
                    "200": answer,
                    "404": {"description": "nothing is known of it", "content": refusal},
                    **{status: refusals[status] for status in ("400", "401", "403", "429")},
                },
            },
        }
    }


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def asyncapi(schemas: Mapping[str, Schema]) -> Schema:
    """The AsyncAPI document of the WebSocket.

    Args:
        schemas: the components of the OpenAPI document, by name.
    """
    names = ("Refusal", *components())
    frame = schemas["StreamFrame"]
    socket = {
        "SocketFrame": {**frame, "title": "SocketFrame", "required": ["conversation_id"]},
        "SocketAnswer": {
            "title": "SocketAnswer",
            "type": "object",
            "properties": {"answers": {**_COUNT, "description": "number of the frame that this answers"}, **_ANSWER},
            "required": ["answers", *_ANSWER],
        },
        "SocketRefusal": {
            "title": "SocketRefusal",
            "type": "object",
            "properties": {
                **schemas["Refusal"]["properties"],
                "retry_after_s": {"type": "number", "description": "seconds to wait before it comes again"},
                **dict.fromkeys(("conversation_id", "turn", "seq"), _SAID_BACK),
            },
            "required": ["error"],
        },
        "SocketResume": {
            "title": "SocketResume",
            "type": "object",
            "properties": {
                "resume": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {name: _ANSWER[name] for name in _PLACE},
                        "required": list(_PLACE),
                    },
                }
            },
            "required": ["resume"],
        },
    }
    messages = {
        "frame": _message("What comes next of a turn that is being written", "SocketFrame"),
        "answer": _message("What is said of the turn, and was not said on this connection", "SocketAnswer"),
        "refusal": _message("Why a frame was not taken; the connection goes on", "SocketRefusal"),
        "resume": _message("Where each turn goes on, before a server that stops closes with 1012", "SocketResume"),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Weir, turns over WebSocket",
            "version": "1",
            "description": "Turns are judged while they are written: many on one connection, an answer to each frame.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "weir": {
                "host": "127.0.0.1:8000",
                "protocol": "ws",
                "security": [{"type": "http", "scheme": "bearer", "description": "where ask.keys_file is set"}],
            }
        },
        "channels": {
            "stream": {
                "address": SOCKET_PATH,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "receiveFrame": {
                "action": "receive",
                "channel": {"$ref": "#/channels/stream"},
                "messages": [_of_channel("frame")],
                "reply": {
                    "channel": {"$ref": "#/channels/stream"},
                    "messages": [_of_channel("answer"), _of_channel("refusal")],
                },
            },
            "sendResume": {
                "action": "send",
                "channel": {"$ref": "#/channels/stream"},
                "messages": [_of_channel("resume")],
            },
        },
        "components": {"messages": messages, "schemas": {**{name: schemas[name] for name in names}, **socket}},
    }


def _of_channel(message: str) -> Schema:
    return {"$ref": f"#/channels/stream/messages/{message}"}


def _message(summary: str, schema: str) -> Schema:
    return {
        "summary": summary,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{schema}"},
    }
