"""The OpenAPI document: generated, about every route, and true of what is sent and answered."""

import asyncio
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from infra.openapi import written
from tests.guards.turn_judges import LetterJudge
from tests.workers.ask.asgi import Got
from tests.workers.ask.ask_site import AskSite
from tests.workers.ask.test_codecs import NEMO, PROMPT, BothTasks, say
from workers.ask.codecs.all_routes import ROUTES
from workers.ask.openapi import openapi
from workers.ask.turns.http import PATH

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


def test_the_files_are_the_generated_ones() -> None:
    for file, text in written().items():
        assert file.read_text(encoding="utf-8") == text, "make fmt writes it"


def test_it_is_about_every_route() -> None:
    assert openapi()["paths"].keys() == {*BODIES, PATH}
    assert {route.path for route in ROUTES} == BODIES.keys()


def test_it_is_true_of_turns_that_are_judged_while_they_are_written() -> None:
    site = AskSite(turns=LetterJudge())
    path = PATH.replace("{conversation_id}", "c")
    frames: list[Any] = [
        {"messages": [TURN], "seq": 0, "delta": "a!"},
        {"offset": 2, "delta": "b", "final": True, "after": 1},
        {"seq": 7},
    ]

    async def asked() -> list[Got]:
        got = [await site.request(path, frame) for frame in frames]
        return [*got, await site.request(path, method="GET"), await site.request(path + "x", method="GET")]

    *answers, gap, known, unknown = asyncio.run(asked())
    for frame in frames:
        checked(schema_of(PATH, "requestBody"), frame)
    for got in (*answers, known):
        assert got.status == 200, got.body
        checked(schema_of(PATH, "responses", "200"), got.json)
    for got, status in ((gap, 409), (unknown, 404)):
        assert got.status == status
        checked({"$ref": "#/components/schemas/Refusal"}, got.json)
    with pytest.raises(ValidationError):
        checked(schema_of(PATH, "requestBody"), {"delta": "a"})


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
