"""Guardrails of gateways: each answer has a decision, and what could not be judged has none."""

from typing import Any

import pytest

from tests.workers.ask.ask_site import AskSite
from tests.workers.ask.test_codecs import HI, LITELLM, BothTasks, judged, say

PORTKEY = "/webhook/portkey"


@pytest.fixture
def site() -> AskSite:
    return AskSite(BothTasks(say))


def test_litellm_always_gets_an_action(site: AskSite) -> None:
    safe = site.post(LITELLM, {"texts": ["hello", ""], "input_type": "request"})
    bad = site.post(LITELLM, {"texts": ["hello", "rude threat"], "input_type": "request", "litellm_call_id": "c"})
    none = site.post(LITELLM, {"texts": [], "input_type": "request"})

    assert (safe.json["action"], none.json["action"]) == ("NONE", "NONE")
    assert (bad.json["action"], bad.json["blocked_reason"]) == ("BLOCKED", "Unsafe: Violent")


def test_litellm_s_response_is_judged_after_its_prompt(site: AskSite) -> None:
    body = {"texts": ["a threat"], "input_type": "response", "structured_messages": [HI]}
    got = site.post(LITELLM, body)

    assert got.json["weir"]["results"][0]["verdict"]["task"] == "response"
    assert got.json["action"] == "BLOCKED"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"texts": ["mumble"], "input_type": "request"}, 422),
        ({"texts": ["a"], "images": ["x"], "input_type": "request"}, 422),
        ({"texts": ["a"]}, 400),
        ({"texts": "a", "input_type": "request"}, 400),
    ],
)
def test_p3_litellm_gets_an_error_and_no_action_for_what_was_not_judged(
    site: AskSite, body: dict[str, Any], status: int
) -> None:
    got = site.post(LITELLM, body)

    assert got.status == status
    assert "action" not in got.json


def test_portkey_gets_a_verdict_before_and_after(site: AskSite) -> None:
    before = {"eventType": "beforeRequestHook", "request": {"json": {"messages": [HI]}, "text": "hi"}}
    said = {"choices": [{"message": {"content": "a threat"}}]}
    after = {"eventType": "afterRequestHook", "request": before["request"], "response": {"json": said, "text": "x"}}
    plain = {"eventType": "beforeRequestHook", "request": {"text": "rude"}}
    got = [site.post(PORTKEY, body).json for body in (before, after, plain)]

    assert [answer["verdict"] for answer in got] == [True, False, False]
    assert got[1]["data"]["results"][0]["verdict"]["task"] == "response"
    assert got[2]["data"]["reasons"] == ["Controversial: Unethical Acts, PII"]
    assert judged(site) == ["hi", "a threat", "rude"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"request": {}},
        {"eventType": "afterRequestHook", "request": {}, "response": {}},
        {"request": {"json": {"input": "embed this"}, "text": ""}},
        {"request": {}, "response": {"json": {"output": [{"type": "message"}]}, "text": "", "statusCode": 200}},
        {"request": {}, "response": {"json": {"choices": [{"index": 0}]}, "text": "", "statusCode": 200}},
        {"request": {"json": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}}},
        {"request": {"text": "mumble"}},
    ],
)
def test_p3_portkey_gets_an_error_and_no_verdict_for_what_was_not_judged(site: AskSite, body: dict[str, Any]) -> None:
    got = site.post(PORTKEY, body)

    assert got.status in (400, 422)
    assert "verdict" not in got.json


def open_gateway(asked: dict[str, Any], said: dict[str, Any] | None = None) -> dict[str, Any]:
    """What Portkey's open gateway posts: no word of when, a text that it took out, a status once there is an answer."""
    choice = (said or {}).get("choices", [{}])[0]
    return {
        "request": {
            "json": asked,
            "text": asked["messages"][-1]["content"] if "messages" in asked else asked.get("prompt", ""),
            "isStreamingRequest": False,
        },
        "response": {
            "json": said or {},
            "text": choice.get("text") or choice.get("message", {}).get("content", ""),
            "statusCode": None if said is None else 200,
        },
        "provider": "openai",
        "requestType": "chatComplete",
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("asked", "said", "judged_text"),
    [
        ({"messages": [HI]}, None, "hi"),
        ({"messages": [HI]}, {"choices": [{"message": {"content": "a threat"}}]}, "a threat"),
        ({"prompt": "hi"}, None, "hi"),
        ({"prompt": "hi"}, {"choices": [{"text": "a threat"}]}, "a threat"),
        ({"messages": [HI]}, {"content": [{"type": "text", "text": "a threat"}]}, "a threat"),
    ],
)
def test_portkey_s_open_gateway_does_not_say_when_and_its_answer_is_judged_all_the_same(
    site: AskSite, asked: dict[str, Any], said: dict[str, Any] | None, judged_text: str
) -> None:
    got = site.post(PORTKEY, open_gateway(asked, said))

    assert got.json["verdict"] is ("threat" not in judged_text)
    assert judged(site) == [judged_text]


def test_portkey_may_have_what_was_not_judged_blocked(site: AskSite) -> None:
    got = site.post(
        PORTKEY, open_gateway({"messages": [{"role": "user", "content": "mumble"}]}), {"prefer": "handling=lenient"}
    )

    assert (got.status, got.json["verdict"]) == (200, False)
    assert got.json["data"]["reasons"] == ["unjudged: unparsable_output"]
