"""What the OpenAPI document says of turns that are judged while they are written; the WebSocket's messages are alike.

A test holds real answers against it.
"""

from typing import Any, Final, get_args

from schemas.turns.frame import DeltaFrame
from schemas.turns.verdict import StreamProvenance, StreamVerdict, TurnEnd
from workers.ask.turns.http import PATH

Schema = dict[str, Any]
_TEXT: Final[Schema] = {"type": "string"}
_BOOL: Final[Schema] = {"type": "boolean"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_OF_KEY = frozenset({"conversation_id", "tenant"})  # and of the URL; may be said again
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
