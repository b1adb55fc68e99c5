"""The published documents are those of the models, and real records validate against them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError
from pydantic import ValidationError as PydanticError

from schemas.dead_letter import dead_letter
from schemas.documents import documents
from schemas.errors import EventError, UnparsableOutputError
from schemas.event import ChatEvent, Task
from schemas.reasons import Reason
from schemas.record import SourceRecord
from schemas.shadow import (
    Difference,
    ShadowDisagreement,
    ShadowJudge,
    ShadowOutcome,
    ShadowPair,
    ShadowSummary,
)
from schemas.turns.frame import read_frame
from schemas.turns.verdict import StreamProvenance, StreamVerdict
from schemas.verdict import (
    Action,
    AppliedPolicy,
    Category,
    Provenance,
    Scores,
    Severity,
    Source,
    Timing,
    Usage,
    Verdict,
)

STREAM_VERDICT = StreamVerdict(
    verdict_id="0" * 32,
    conversation_id="c",
    tenant="default",
    turn=0,
    role="assistant",
    index=3,
    offset=12,
    risk=Severity.UNSAFE,
    category="Violent",
    probabilities={"risk": {"Unsafe": 1.0}},
    provisional=False,
    raised=True,
    action=Action.BLOCK,
    policy=AppliedPolicy(name="p", version="1", sha256="0" * 64, treated_as=Severity.UNSAFE),
    final=True,
    end="final",
    provenance=StreamProvenance(
        model="demo", revision="r1", prompt_sha256="p1", engine="stream_guard", dtype="float32", debounce="paper"
    ),
)
PUBLISHED = Path(__file__).parents[2] / "schemas" / "published"
DOCUMENTS = documents()
PROVENANCE = Provenance(
    model="demo", revision="r1", prompt_sha256="p1", engine="reference", dtype="float32", parser="1"
)
VERDICT = Verdict(
    verdict_id="0" * 32,
    event_id="e1",
    conversation_id="c",
    tenant="default",
    task=Task.PROMPT,
    severity=Severity.CONTROVERSIAL,
    categories=(Category.JAILBREAK,),
    refusal=None,
    scores=Scores(severity={Severity.SAFE: 1.0}, categories={"None": 0.5, "PII": 0.5}, refusal=None),
    action=Action.REVIEW,
    policy=AppliedPolicy(name="default", version="1", sha256="aa", treated_as=Severity.CONTROVERSIAL),
    source=Source(topic="t", partition=0, offset=0),
    provenance=PROVENANCE,
    usage=Usage(prompt_tokens=1, output_tokens=1, windows=1, length_policy="windowed", characters_dropped=2),
    timing=Timing(received_at="2026-01-02T03:04:05Z", judged_at="2026-01-02T03:04:05Z", queue_ms=0, guard_ms=0.5),
)
DISAGREEMENT: dict[str, Any] = ShadowDisagreement(
    event_id="e1",
    source=VERDICT.source,
    differences=(Difference.OUTCOME,),
    live=ShadowOutcome(verdict=VERDICT, reason=None),
    candidate=ShadowOutcome(verdict=None, reason=Reason.OUTPUT_CUT_OFF),
).model_dump(mode="json")
JUDGE = ShadowJudge(model="demo", revision=None, policy_name="default", policy_version="1", policy_sha256="aa")
SUMMARY: dict[str, Any] = ShadowSummary(
    worker="w",
    started_at="2026-01-02T03:04:05Z",
    ended_at="2026-01-02T03:05:05Z",
    share=0.01,
    live=JUDGE,
    candidate=JUDGE,
    agreed=9,
    disagreed=1,
    dropped=2,
    unanswered=3,
    unpublished=4,
    differences={Difference.OUTCOME: 1},
    pairs=(ShadowPair(live=Severity.SAFE, candidate="dead_letter", count=1),),
).model_dump(mode="json")
EVENTS: list[dict[str, Any]] = [
    {"event_id": "e", "text": "hi"},
    {"event_id": "e", "messages": [{"role": "user", "content": "hi", "name": "unknown"}], "shiny": 1},
    {
        "schema_version": "1.3",
        "event_id": "e",
        "conversation_id": "c",
        "tenant": "kids",
        "messages": [{"role": role, "content": "x"} for role in ("system", "user", "assistant")],
        "created_at": "2026-01-02T03:04:05Z",
    },
]
WRONG_EVENTS: list[dict[str, Any]] = [
    {"text": "hi"},
    {"event_id": "e"},
    {"event_id": "e", "text": "hi", "messages": [{"role": "user", "content": "hi"}]},
    {"event_id": "", "text": "hi"},
    {"event_id": "e", "text": 5},
    {"event_id": "e", "messages": []},
    {"event_id": "e", "messages": [{"role": "tool", "content": "hi"}]},
    {"event_id": "e", "messages": [{"role": "user"}]},
    {"event_id": "e", "text": "hi", "schema_version": "2.0"},
]


def schema_of(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(DOCUMENTS[name])
    return schema


def validator(name: str) -> Draft202012Validator:
    schema = schema_of(name)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_published_files_are_the_generated_ones() -> None:
    published = {path.name: path.read_text(encoding="utf-8") for path in PUBLISHED.iterdir()}
    assert published == documents(), "write schemas.documents.documents() into schemas/published/"


@pytest.mark.parametrize("event", EVENTS)
def test_real_events_validate(event: dict[str, Any]) -> None:
    assert ChatEvent.model_validate(event).messages
    assert list(validator("chat_event.schema.json").iter_errors(event)) == []


@pytest.mark.parametrize("event", WRONG_EVENTS)
def test_what_the_worker_refuses_the_schema_refuses(event: dict[str, Any]) -> None:
    with pytest.raises(PydanticError):
        ChatEvent.model_validate(event)
    with pytest.raises(ValidationError):
        validator("chat_event.schema.json").validate(event)


def test_real_verdicts_validate_and_nothing_may_be_missing_or_added() -> None:
    verdict = json.loads(VERDICT.to_bytes())
    schema = validator("verdict.schema.json")
    schema.validate(verdict)
    assert not schema.is_valid({**verdict, "unknown": 1})
    assert not schema.is_valid({**verdict, "severity": "safe"})
    for field in set(verdict) - {"schema_version"}:
        assert not schema.is_valid({name: value for name, value in verdict.items() if name != field}), field


def test_real_dead_letters_validate_and_use_no_undocumented_header() -> None:
    document = schema_of("dead_letter_headers.schema.json")
    schema = validator("dead_letter_headers.schema.json")
    letter = dead_letter(
        SourceRecord("t", 0, 1, 2, None, None, (("a", None),)),
        UnparsableOutputError("rule"),
        group="weir",
        provenance=PROVENANCE,
        raw_output_sha256="ab",
    ).model_copy(update={"value_dropped": True})
    headers = {name: value.decode() for name, value in letter.record_headers if name != "a"}
    schema.validate(headers)
    assert set(headers) == set(document["properties"])
    assert not schema.is_valid({**headers, "moderation.dlq.reason": "other"})
    bare = dead_letter(SourceRecord("t", 0, 1, 2, None, b"", ()), UnparsableOutputError("rule"), group="weir")
    headers = {name: value.decode() for name, value in bare.record_headers}
    schema.validate(headers)
    assert set(headers) == set(document["required"])


@pytest.mark.parametrize("record", [DISAGREEMENT, SUMMARY])
def test_shadow_records_validate_and_none_without_its_kind(record: dict[str, Any]) -> None:
    schema = validator("shadow.schema.json")
    schema.validate(record)

    assert not schema.is_valid({**record, "kind": "other"})
    assert not schema.is_valid({**record, "text": "hi"})


def test_delta_frames_validate_and_a_misspelt_field_does_not() -> None:
    frame = {"conversation_id": "c", "turn": 0, "seq": 1, "delta": "lamp", "final": True}
    schema = validator("delta.schema.json")
    schema.validate(frame)

    for wrong in ({"finale": True}, {"seq": -1}, {"role": "system"}, {"final": 1}, {"turn": "0"}):
        assert not schema.is_valid({**frame, **wrong}), wrong
        with pytest.raises(EventError):
            read_frame({**frame, **wrong})


def test_verdicts_of_turns_validate_and_nothing_may_be_missing_or_added() -> None:
    verdict = json.loads(STREAM_VERDICT.to_bytes())
    schema = validator("stream_verdict.schema.json")
    schema.validate(verdict)

    assert not schema.is_valid({**verdict, "text": "hi"})
    for field in set(verdict) - {"schema_version"}:
        assert not schema.is_valid({name: value for name, value in verdict.items() if name != field}), field


def test_a_side_of_a_disagreement_has_a_verdict_or_a_reason() -> None:
    for verdict, reason in ((None, None), (VERDICT, Reason.OUTPUT_CUT_OFF)):
        with pytest.raises(PydanticError, match="either a verdict or a reason"):
            ShadowOutcome(verdict=verdict, reason=reason)


def test_the_asyncapi_document_holds_together() -> None:
    document = yaml.safe_load(DOCUMENTS["asyncapi.yaml"])
    assert document["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in document["channels"].values()} == {
        "chat.events",
        "moderation.verdicts",
        "moderation.dlq",
        "moderation.shadow",
        "chat.deltas",
        "moderation.stream",
    }
    actions = [operation["action"] for operation in document["operations"].values()]
    assert actions == ["receive", *["send"] * 3, "receive", "send"]
    references = list(_references(document))
    assert references
    for reference in references:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ChatEvent", EVENTS[0]),
        ("ChatEventData", {"text": "hi"}),
        ("ChatCloudEvent", {"specversion": "1.0", "id": "i", "source": "s", "type": "t", "data": {"text": "hi"}}),
        ("Verdict", json.loads(VERDICT.to_bytes())),
        ("ShadowDisagreement", DISAGREEMENT),
        ("ShadowSummary", SUMMARY),
    ],
)
def test_real_records_validate_against_the_asyncapi_payloads(name: str, value: object) -> None:
    # AsyncAPI's own schemas are a superset of draft 7.
    document = yaml.safe_load(DOCUMENTS["asyncapi.yaml"])
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    Draft7Validator(schema).validate(value)
    with pytest.raises(ValidationError):
        Draft7Validator(schema).validate({"data": {}})


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)
