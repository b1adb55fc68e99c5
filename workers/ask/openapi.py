"""The OpenAPI document of the Ask lane: what each route reads and writes. A test holds real answers against it.

Forms of others are described as far as they are read here.
"""

from typing import Any

from schemas.event import ChatEvent
from schemas.verdict import Verdict
from workers.ask.codecs import chat_moderations, moderations, perspective
from workers.ask.exchange import MAX_ITEMS
from workers.ask.turns import described

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_BOOL: Schema = {"type": "boolean"}
_ANY: Schema = {}
_TURNS: Schema = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"}}
_VERDICT: Schema = {"$ref": "#/components/schemas/Verdict"}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _each(names: Any, value: Schema) -> Schema:
    return {"type": "object", "required": list(names), "additionalProperties": value}


_FAILURE = _object({"reason": _TEXT, "stage": _TEXT, "detail": _TEXT})
_WEIR = _object(
    {}, {"verdict": _VERDICT, "error": _FAILURE, "skipped": _TEXT, "scores": _TEXT, "not_assessed": _list(_TEXT)}
)
_RESULTS = _list(_object({}, {"verdict": _VERDICT, "skipped": _TEXT}))
_REWARD_ITEM = _object(
    {"response": _TEXT},
    {"prompt": {"oneOf": [_TEXT, _TURNS]}, "messages": _TURNS, "thinking": _TEXT, "helpfulness": _NUMBER},
)
_KIND: Schema = {"enum": ["guard", "hybrid", "p_safe"], "default": "guard"}
_SCORE = _object({"value": _NUMBER, "type": {"const": "PROBABILITY"}})

# By path: what it is, what it reads, what it writes.
ROUTES: dict[str, tuple[str, Schema, Schema]] = {
    moderations.PATH: (
        "Moderate texts or conversations, as OpenAI has it.",
        _object(
            {
                "input": {
                    "oneOf": [
                        _TEXT,
                        {"$ref": "#/components/schemas/Event"},
                        {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": MAX_ITEMS,
                            "items": {"oneOf": [_TEXT, {"type": "object"}]},
                        },
                    ]
                }
            },
            {"model": _TEXT},
        ),
        _object(
            {
                "id": _TEXT,
                "model": _TEXT,
                "results": _list(
                    _object(
                        {
                            "flagged": _BOOL,
                            "categories": _each(moderations.NAMES, _BOOL),
                            "category_scores": _each(moderations.NAMES, _NUMBER),
                            "category_applied_input_types": _each(moderations.NAMES, _list({"const": "text"})),
                            "weir": _WEIR,
                        }
                    )
                ),
            }
        ),
    ),
    "/v1/chat/moderations": (
        "Moderate the last turn of conversations, as Mistral has it.",
        _object({"input": {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS}}, {"model": _TEXT}),
        _object(
            {
                "id": _TEXT,
                "model": _TEXT,
                "results": _list(
                    _object(
                        {
                            "categories": _each(chat_moderations.NAMES, _BOOL),
                            "category_scores": _each(chat_moderations.NAMES, _NUMBER),
                            "weir": _WEIR,
                        }
                    )
                ),
            }
        ),
    ),
    "/v1/chat/completions": (
        "The lines that the model wrote, as a server of Qwen3Guard-Gen has it.",
        _object({"messages": _TURNS}, {"model": _TEXT}),
        _object(
            {
                "id": _TEXT,
                "object": {"const": "chat.completion"},
                "created": {"type": "integer"},
                "model": _TEXT,
                "choices": _list(_object({"message": _object({"content": _TEXT}), "finish_reason": {"const": "stop"}})),
                "usage": _object({"prompt_tokens": _NUMBER, "completion_tokens": _NUMBER, "total_tokens": _NUMBER}),
            }
        ),
    ),
    "/beta/litellm_basic_guardrail_api": (
        "Decide as LiteLLM's generic guardrail.",
        _object(
            {"input_type": {"enum": ["request", "response"]}},
            {"texts": _list(_TEXT), "structured_messages": _list(_ANY)},
        ),
        _object(
            {"action": {"enum": ["BLOCKED", "NONE"]}}, {"blocked_reason": _TEXT, "weir": _object({"results": _RESULTS})}
        ),
    ),
    "/webhook/portkey": (
        "Decide as Portkey's webhook.",
        _object({"request": {"type": "object"}}, {"eventType": _TEXT, "response": {"type": "object"}}),
        _object({"verdict": _BOOL, "data": _object({"reasons": _list(_TEXT), "results": _RESULTS})}),
    ),
    "/v1alpha1/comments:analyze": (
        "Score a comment, as Perspective had it.",
        _object(
            {
                "comment": _object({"text": _TEXT}),
                "requestedAttributes": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"enum": list(perspective.NAMES)},
                },
            },
            {"context": _object({}, {"entries": _list(_object({"text": _TEXT}))}), "languages": _list(_TEXT)},
        ),
        _object({"attributeScores": {"type": "object", "additionalProperties": _object({"summaryScore": _SCORE})}}),
    ),
    "/v1/rewards": (
        "Judgements as rewards; null where one is missing.",
        _object({"items": _list(_REWARD_ITEM)}, {"kind": _KIND}),
        _object(
            {
                "rewards": _list({"type": ["number", "null"]}),
                "items": _list(_object({"masked": _BOOL})),
                "provenance": _ANY,
            }
        ),
    ),
    "/get_reward": (
        "Rewards as OpenRLHF asks for them.",
        _object({"query": _list(_TEXT), "prompts": _list(_TEXT)}, {"labels": _list(_ANY), "kind": _KIND}),
        _object({"rewards": _list(_NUMBER), "scores": _list(_NUMBER), "extra_logs": {"type": "object"}}),
    ),
    "/rm": (
        "A reward as slime asks for it.",
        _object({"prompt": {"oneOf": [_TEXT, _TURNS]}, "response": _TEXT}, {"label": _ANY, "kind": _KIND}),
        _NUMBER,
    ),
    "/classify": (
        "Rewards as verl asks for them, of conversations in ChatML.",
        _object({"input": {"oneOf": [_TEXT, _list(_TEXT)]}}, {"model": _TEXT, "kind": _KIND}),
        _object({"data": _list(_object({"index": _NUMBER, "probs": _list(_NUMBER)}))}),
    ),
    "/verify": (
        "A reward as NeMo Gym asks for it; what could not be judged is masked.",
        _object({"responses_create_params": {"type": "object"}, "response": _object({"output": _list(_ANY)})}),
        _object({"reward": _NUMBER}, {"mask_sample": _BOOL, "_ng_failure_class": _TEXT}),
    ),
}
_REFUSALS = {
    "400": "no JSON object, or another form",
    "401": "no known key",
    "403": "a key of other routes",
    "408": "the body took too long",
    "413": "the body is too large",
    "422": "an item cannot be judged; its index and reason",
    "429": "the key's limit",
    "500": "a fault of ours",
    "503": "the guard is away, too much waits, or the server stops",
}


def openapi() -> Schema:
    """The document."""
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    refusals = {status: {"description": why, "content": refusal} for status, why in _REFUSALS.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Weir, the Ask lane",
            "version": "1",
            "description": "Verdicts over HTTP, those that Kafka would have given.",
        },
        "security": [{"key": []}, {}],
        "paths": {
            **{path: {"post": _operation(path, refusals, *parts)} for path, parts in ROUTES.items()},
            **described.paths(refusals),
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Event": _published(ChatEvent.model_json_schema()),
                "Verdict": _published(Verdict.model_json_schema(mode="serialization")),
                "Message": _object({"role": _TEXT, "content": _ANY}),
                "Refusal": _object(
                    {
                        "error": _object(
                            {"message": _TEXT, "code": _ANY}, {"index": _NUMBER, "expected": {"type": "object"}}
                        )
                    }
                ),
                **{name: _published(schema) for name, schema in described.components().items()},
            },
        },
    }


def asyncapi() -> Schema:
    """The AsyncAPI document of the WebSocket."""
    return described.asyncapi(openapi()["components"]["schemas"])


def _operation(path: str, refusals: Schema, summary: str, reads: Schema, writes: Schema) -> Schema:
    return {
        "operationId": path.strip("/").replace("/", "_").replace(":", "_"),
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": reads}}},
        "responses": {
            "200": {"description": "answered", "content": {"application/json": {"schema": writes}}},
            **refusals,
        },
    }


def _published(schema: Schema) -> Schema:
    """A model's schema as a component: what it refers to is inside of it."""
    moved: Schema = _moved(schema, "Event" if schema["title"] == "ChatEvent" else schema["title"])
    return moved


def _moved(part: Any, component: str) -> Any:
    if isinstance(part, dict):
        return {
            name: value.replace("#/$defs/", f"#/components/schemas/{component}/$defs/")
            if name == "$ref"
            else _moved(value, component)
            for name, value in part.items()
        }
    return [_moved(item, component) for item in part] if isinstance(part, list) else part
