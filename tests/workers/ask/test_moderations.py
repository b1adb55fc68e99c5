"""OpenAI's moderation form: what it says of an answer, and of what it does not know."""

import json
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from pipelines.guard import GuardAnswer
from tests.guards.answering_guard import AnsweringGuard
from tests.pipelines.judged_records import answer
from tests.workers.ask.ask_site import RUDE, SAFE, SECRET, VIOLENT, AskSite
from workers.ask.codecs.moderations import NAMES

PATH = "/v1/moderations"
OPENAI = {
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
}  # fmt: skip
NOT_KNOWN = {name for name, category in NAMES.items() if category is None}


@pytest.fixture
def site() -> AskSite:
    return AskSite()


def results(site: AskSite, given: object, **headers: str) -> list[dict[str, Any]]:
    got = site.post(PATH, {"input": given, "model": "omni-moderation-latest"}, headers)
    assert got.status == 200, got.body
    found: list[dict[str, Any]] = got.json["results"]
    return found


def test_a_text_has_an_answer_with_every_category_of_openai(site: AskSite) -> None:
    got = site.post(PATH, {"input": "a threat"})
    (result,) = got.json["results"]

    assert (got.status, got.json["model"]) == (200, "scripted")
    assert got.json["id"] == f"modr-{got.headers['x-request-id']}"
    assert result["categories"].keys() >= OPENAI
    assert result["categories"].keys() == result["category_scores"].keys()
    assert result["categories"].keys() == result["category_applied_input_types"].keys()
    assert all(type(value) is bool for value in result["categories"].values())
    assert all(type(value) is float for value in result["category_scores"].values())
    assert result["flagged"]
    assert [name for name, is_true in result["categories"].items() if is_true] == ["violence"]


def test_what_is_not_assessed_is_false_and_zero_and_says_so(site: AskSite) -> None:
    (result,) = results(site, "hello")

    assert set(result["weir"]["not_assessed"]) == NOT_KNOWN
    for name in NOT_KNOWN:
        assert (result["categories"][name], result["category_scores"][name]) == (False, 0.0)
        assert result["category_applied_input_types"][name] == []
    assert result["category_applied_input_types"]["violence"] == ["text"]


def test_jailbreak_is_not_assessed_of_a_response() -> None:
    site = AskSite(AnsweringGuard(lambda _: answer(f"{SAFE}\nRefusal: Yes")))
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "no"}]
    (result,) = results(site, [{"messages": turns}])

    assert set(result["weir"]["not_assessed"]) == NOT_KNOWN | {"jailbreak"}
    assert (result["weir"]["verdict"]["task"], result["weir"]["verdict"]["refusal"]) == ("response", True)


@pytest.mark.parametrize("is_scored", [False, True])
@pytest.mark.parametrize("text", [SAFE, VIOLENT, RUDE, "Safety: Unsafe\nCategories: Jailbreak"])
def test_scores_agree_with_what_was_decided(text: str, is_scored: bool) -> None:
    scores = {
        "safety": {"Safe": 0.6, "Controversial": 0.3, "Unsafe": 0.1},
        "category": {"None": 0.1, "Violent": 0.2, "PII": 0.6, "Jailbreak": 0.1},
    }
    site = AskSite(AnsweringGuard(lambda _: answer(text, scores=scores if is_scored else None)))
    (result,) = results(site, "x")

    assert result["flagged"] == (max(result["category_scores"].values()) > 0.5) == any(result["categories"].values())
    assert {name: score > 0.5 for name, score in result["category_scores"].items()} == result["categories"]
    assert result["weir"]["scores"] == ("probabilities" if is_scored else "labels")


def test_a_list_of_texts_and_events_has_an_answer_each_in_order(site: AskSite) -> None:
    turns = [{"role": "user", "content": "rude"}]
    found = results(site, ["hello", "a threat", {"messages": turns, "event_id": "mine", "tenant": "games"}])

    assert [result["flagged"] for result in found] == [False, True, True]
    assert [name for name, is_true in found[2]["categories"].items() if is_true] == ["harassment", "hate", "pii"]
    verdict = found[2]["weir"]["verdict"]
    assert (verdict["event_id"], verdict["tenant"], verdict["source"]["offset"]) == ("mine", "games", 2)


def test_parts_of_text_are_one_text_and_an_image_is_refused(site: AskSite) -> None:
    parts: list[dict[str, Any]] = [{"type": "text", "text": "a"}, {"type": "text", "text": "threat"}]
    (result,) = results(site, parts)
    refused = site.post(PATH, {"input": [*parts, {"type": "image_url", "image_url": {"url": SECRET}}]})

    assert result["flagged"]
    assert (refused.status, refused.json["error"]["code"], refused.json["error"]["param"]) == (
        422,
        "not_assessed",
        "input.2",
    )
    assert SECRET.encode() not in refused.body


def test_an_empty_text_has_nothing_to_judge_and_is_answered(site: AskSite) -> None:
    (result,) = results(site, "")

    assert not result["flagged"]
    assert result["weir"]["skipped"] == "blank_text"
    assert set(result["weir"]["not_assessed"]) == set(NAMES)
    assert not any(result["category_applied_input_types"].values())


def test_p3_an_item_that_cannot_be_judged_is_a_refusal_with_index_and_reason(site: AskSite) -> None:
    got = site.post(PATH, {"input": ["hello", f"mumble {SECRET}"]})

    assert got.status == 422
    assert got.json["error"]["index"] == 1
    assert got.json["error"]["code"] == "unparsable_output"
    assert SECRET.encode() not in got.body


def test_p3_who_prefers_leniency_is_told_that_the_item_is_flagged_and_why(site: AskSite) -> None:
    safe, failed = results(site, ["hello", f"mumble {SECRET}"], prefer="handling=lenient")

    assert not safe["flagged"]
    assert failed["flagged"]
    assert failed["categories"]["unjudged"]
    assert max(failed["category_scores"].values()) == 1.0
    assert failed["weir"]["error"]["reason"] == "unparsable_output"
    assert SECRET not in json.dumps(failed)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "input:"),
        ({"input": []}, "input:"),
        ({"input": 7}, "input:"),
        ({"input": [[1, 2]]}, "input.0:"),
        ({"input": ["a", {"type": "text", "text": "b"}]}, "input.1:"),
        ({"input": [{"type": 1}]}, "input.0:"),
        ({"input": ["a"] * 257}, "items: 257"),
        ([], "body:"),
    ],
)
def test_a_body_of_another_form_is_refused_by_field(site: AskSite, body: object, named: str) -> None:
    got = site.post(PATH, body)

    assert (got.status, got.json["error"]["type"]) == (400, "invalid_request_error")
    assert got.json["error"]["message"].startswith(named)


def test_the_verdict_within_an_answer_has_the_bytes_of_the_verdict() -> None:
    said: list[GuardAnswer] = [answer(VIOLENT, scores={"safety": {"Safe": 1e-7, "Unsafe": 0.1}, "category": {}})]
    site = AskSite(AnsweringGuard(lambda _: said[0]))
    got = site.post(PATH, {"input": "x"})
    (result,) = from_json(got.body)["results"]

    assert b'"Safe":1e-7' in got.body
    assert to_json(result["weir"]["verdict"]) in got.body
