"""Every field of every form with a value that nobody sends: refused by name or answered, never a fault of ours."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from tests.guards.turn_judges import LetterJudge
from tests.workers.ask.ask_site import SECRET, AskSite
from tests.workers.ask.test_codecs import PROMPT, BothTasks, say
from tests.workers.ask.test_openapi import BODIES

TURN = {"role": "user", "content": "hi"}
PARTS: list[Any] = [
    {"type": "image_url", "image_url": {"url": SECRET}}, {"type": "image_url", "text": "hi"}, {"type": "text"},
    {"type": "text", "text": 7}, {"image_url": {"url": SECRET}}, {"type": [], "text": "hi"}, 7,
]  # fmt: skip
ODD: list[Any] = [
    None, True, 10**400, -1.5, float("nan"), "", SECRET + "\ud800", [], {}, [None], [[SECRET]], {SECRET: float("inf")},
    [{"role": [SECRET], "content": {}}], [{**TURN, "content": [7, {"type": 7}]}], [TURN] * 257,
]  # fmt: skip
MORE: dict[str, list[Any]] = {
    "/v1/chat/moderations": [{"input": [[TURN], {"messages": [TURN]}]}],
    "/webhook/portkey": [
        {
            "eventType": "afterRequestHook",
            "request": {"json": {"messages": [TURN]}},
            "response": {"json": {"choices": [{"message": {"content": "hi"}}]}, "text": "hi", "statusCode": 200},
        },
        {"request": {"text": "hi"}, "response": {"json": {"content": [{"type": "text", "text": "hi"}]}}},
    ],
    "/v1/rewards": [
        {"kind": kind, "items": [{"messages": [TURN], "response": "a", "thinking": "b", "helpfulness": 1}]}
        for kind in ("guard", "hybrid")
    ],
    "/rm": [{"prompt": [TURN], "response": PROMPT, "label": None}],
    "/verify": [
        {
            "responses_create_params": {"input": "hi"},
            "response": {
                "output": [
                    {"type": "reasoning", "summary": [{"text": "b"}]},
                    {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
                ]
            },
        }
    ],
}


def odd_ones(value: Any) -> Iterator[Any]:
    """The value with something odd in each of its places, one at a time."""
    yield from ODD
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, inner in places:
        for other in odd_ones(inner):
            changed = value.copy()
            changed[place] = other
            yield changed


def no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def test_p10_no_odd_value_in_a_frame_of_a_turn_is_a_fault_of_ours() -> None:
    site = AskSite(turns=LetterJudge())
    frame = {"messages": [TURN], "seq": 0, "offset": 0, "turn": 0, "role": "assistant", "delta": "a!", "after": 1}

    async def asked() -> None:
        for number, odd in enumerate(odd_ones({**frame, "final": True, "tenant": "games"})):
            got = await site.request(f"/v1/stream/c{number}", odd)
            assert got.status in (200, 400, 409, 422, 503), (odd, got.body)
            assert SECRET.encode() not in got.body
            json.loads(got.body, parse_constant=no_number)

    asyncio.run(asked())


@pytest.mark.parametrize("path", BODIES)
def test_p10_no_odd_value_is_a_fault_of_ours_or_comes_back_in_a_refusal(path: str) -> None:
    site = AskSite(BothTasks(say))

    async def asked() -> None:
        for body in (*BODIES[path], *MORE.get(path, ())):
            for odd in odd_ones(body):
                got = await site.request(path, odd)
                assert got.status in (200, 400, 422, 503), (odd, got.body)
                assert got.status == 200 or SECRET.encode() not in got.body
                json.loads(got.body, parse_constant=no_number)

    asyncio.run(asked())


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/moderations", lambda content: {"input": [{"messages": [{"role": "user", "content": content}]}]}),
        ("/v1/moderations", lambda content: {"input": {"text": content}}),
        ("/v1/chat/moderations", lambda content: {"input": [{"role": "user", "content": content}]}),
        ("/v1/chat/completions", lambda content: {"messages": [{"role": "user", "content": content}]}),
    ],
)
def test_p3_a_part_without_a_text_is_refused_wherever_it_stands(path: str, body: Any, part: Any) -> None:
    got = AskSite().post(path, body([{"type": "text", "text": "hi"}, part]))

    assert (got.status, got.json["error"]["code"]) == (422, "not_assessed")
    assert SECRET.encode() not in got.body


@pytest.mark.parametrize("part", PARTS)
def test_p3_openai_s_parts_are_all_texts_or_refused(part: Any) -> None:
    got = AskSite().post("/v1/moderations", {"input": [{"type": "text", "text": "hi"}, part]})

    assert got.json["error"]["code"] in ("not_assessed", "invalid_request")
    assert SECRET.encode() not in got.body


def test_p3_portkey_s_answer_is_judged_whatever_the_event_is_called() -> None:
    response = {"json": {"choices": [{"message": {"content": "a threat"}}]}, "text": "a threat", "statusCode": 200}
    body = {"eventType": "another", "request": {"json": {"messages": [TURN]}}, "response": response}

    assert AskSite(BothTasks(say)).post("/webhook/portkey", body).json["verdict"] is False


@pytest.mark.parametrize("helpfulness", [float("nan"), float("inf"), 10**400, True, "1"])
def test_p3_a_helpfulness_that_is_no_number_never_becomes_a_reward(helpfulness: Any) -> None:
    item = {"prompt": "hi", "response": "ok", "helpfulness": helpfulness}
    got = AskSite(BothTasks(say)).post("/v1/rewards", {"kind": "hybrid", "items": [item]})

    assert (got.status, got.json["error"]["param"]) == (422, "items.0.helpfulness")


@pytest.mark.parametrize(
    ("value", "status"), [("respond-async, Handling=lenient; x=1", 200), ("handling=lenienter", 422)]
)
def test_a_preference_is_read_among_others(value: str, status: int) -> None:
    assert AskSite().post("/v1/moderations", {"input": "mumble"}, {"prefer": value}).status == status
