"""The OpenAPI document: generated, about every route, and true of what is sent and answered."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from infra.openapi import FILE, written
from tests.workers.ask.ask_site import AskSite
from tests.workers.ask.test_codecs import NEMO, PROMPT, BothTasks, say
from workers.ask.codecs.all_routes import ROUTES
from workers.ask.openapi import openapi

TURN = {"role": "user", "content": "a threat"}
BODIES: dict[str, list[Any]] = {
    "/v1/moderations": [
        {"input": ["a threat", "", "mumble"]},
        {"input": "a"},
        {"input": {"event_id": "e", "text": "a"}},
    ],
    "/v1/chat/moderations": [{"input": [TURN]}],
    "/v1/chat/completions": [{"messages": [TURN]}],
    "/beta/litellm_basic_guardrail_api": [{"texts": ["a threat", ""], "input_type": "request"}],
    "/webhook/portkey": [{"request": {"text": "a"}}],
    "/v1alpha1/comments:analyze": [{"comment": {"text": "a"}, "requestedAttributes": {"THREAT": {}}}],
    "/v1/rewards": [{"items": [{"prompt": "a", "response": "b"}, {"prompt": "a", "response": "mumble"}]}],
    "/get_reward": [{"query": [PROMPT + "a"], "prompts": [PROMPT]}],
    "/rm": [{"prompt": "a", "response": "b"}],
    "/classify": [{"input": PROMPT + "a"}],
    "/verify": [NEMO],
}


def checked(schema: dict[str, Any], value: object) -> None:
    components = {"components": openapi()["components"]}
    Draft202012Validator({**components, **schema}).validate(value)


def schema_of(path: str, *place: str) -> dict[str, Any]:
    found: Any = openapi()["paths"][path]["post"]
    for name in place:
        found = found[name]
    schema: dict[str, Any] = found["content"]["application/json"]["schema"]
    return schema


def test_the_file_is_the_generated_one() -> None:
    assert FILE.read_text(encoding="utf-8") == written(), "make fmt writes it"


def test_it_is_about_every_route() -> None:
    assert openapi()["paths"].keys() == {route.path for route in ROUTES} == BODIES.keys()


@pytest.mark.parametrize("path", BODIES)
def test_it_is_true_of_what_is_sent_and_answered(path: str) -> None:
    site = AskSite(BothTasks(say))
    for body in BODIES[path]:
        got = site.post(path, body, {"prefer": "handling=lenient"})
        assert got.status == 200, got.body
        checked(schema_of(path, "requestBody"), body)
        checked(schema_of(path, "responses", "200"), got.json)
    refused = site.post(path, {"x": 1})
    with pytest.raises(Exception, match="required property"):
        checked(schema_of(path, "requestBody"), {"x": 1})
    assert refused.status == 400
    checked(schema_of(path, "responses", "400"), json.loads(refused.body))
