"""The verdict's bytes and id: stable, complete, and impossible without a severity (P3, P7)."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.event import Task
from schemas.record import SourceRecord
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
from schemas.verdict_writer import verdict_id, verdict_id_base

SOURCE = Source(topic="chat.events", partition=3, offset=41)
PROVENANCE = Provenance(
    model="demo", revision="r1", prompt_sha256="p1", engine="reference", dtype="float32", parser="1"
)
TIMES = Timing(
    received_at="2026-01-02T03:04:05.000+00:00", judged_at="2026-01-02T03:04:06.000+00:00", queue_ms=1, guard_ms=2
)
FIELDS: dict[str, Any] = {
    "verdict_id": "0" * 32,
    "event_id": "e1",
    "conversation_id": None,
    "tenant": "default",
    "task": Task.RESPONSE,
    "severity": Severity.UNSAFE,
    "categories": (Category.SELF_HARM, Category.PII),
    "refusal": False,
    "scores": Scores(severity={Severity.UNSAFE: 0.75, Severity.SAFE: 0.25}, categories={"None": 0.5}, refusal=0.25),
    "action": Action.BLOCK,
    "policy": AppliedPolicy(name="default", version="1", sha256="aa", treated_as=Severity.UNSAFE),
    "source": SOURCE,
    "provenance": PROVENANCE,
    "usage": Usage(prompt_tokens=300, output_tokens=13, windows=1, length_policy="whole", characters_dropped=0),
    "timing": TIMES,
}
GOLDEN = (
    '{"schema_version":"1.0","verdict_id":"00000000000000000000000000000000","event_id":"e1","conversation_id":null,'
    '"tenant":"default","task":"response","severity":"Unsafe","categories":["Suicide & Self-Harm","PII"],'
    '"refusal":false,"scores":{"severity":{"Unsafe":0.75,"Safe":0.25},"categories":{"None":0.5},"refusal":0.25},'
    '"action":"block","policy":{"name":"default","version":"1","sha256":"aa","treated_as":"Unsafe"},'
    '"source":{"topic":"chat.events","partition":3,"offset":41},"provenance":{"model":"demo","revision":"r1",'
    '"prompt_sha256":"p1","engine":"reference","dtype":"float32","parser":"1"},"usage":{"prompt_tokens":300,'
    '"output_tokens":13,"windows":1,"length_policy":"whole","characters_dropped":0},"handling":{},"timing":{"received_at":'
    '"2026-01-02T03:04:05.000+00:00","judged_at":"2026-01-02T03:04:06.000+00:00","queue_ms":1.0,"guard_ms":2.0}}'
)


def test_p7_the_bytes_of_a_verdict_are_stable() -> None:
    assert Verdict(**FIELDS).to_bytes().decode() == GOLDEN


def test_it_is_read_back_as_it_was_written() -> None:
    assert Verdict.model_validate_json(Verdict(**FIELDS).to_bytes()) == Verdict(**FIELDS)


def test_p7_without_timing_duplicates_have_equal_bytes() -> None:
    later = TIMES.model_copy(update={"judged_at": "2027-01-01T00:00:00.000+00:00", "queue_ms": 99.0})
    one, other = (json.loads(Verdict(**{**FIELDS, "timing": timing}).to_bytes()) for timing in (TIMES, later))
    assert one.pop("timing") != other.pop("timing")
    assert json.dumps(one) == json.dumps(other)


@pytest.mark.parametrize("field", FIELDS)
def test_p3_no_field_of_a_verdict_has_a_default(field: str) -> None:
    with pytest.raises(ValidationError, match="Field required"):
        Verdict(**{name: value for name, value in FIELDS.items() if name != field})


@pytest.mark.parametrize("severity", ["safe", "", None, "Safe "])
def test_p3_a_severity_that_the_model_does_not_know_is_refused(severity: object) -> None:
    with pytest.raises(ValidationError):
        Verdict(**{**FIELDS, "severity": severity})


RECORD = SourceRecord(SOURCE.topic, SOURCE.partition, SOURCE.offset, 1_700_000_000_000, None, b"", ())
IDENTITY: dict[str, Any] = {
    "record": RECORD,
    "event_id": "e1",
    "provenance": PROVENANCE,
    "policy_sha256": "aa",
    "length_signature": "window:64",
}
CHANGES: list[tuple[str, Any]] = [
    *(
        ("record", RECORD._replace(**{name: value}))
        for name, value in (("topic", "t"), ("partition", 4), ("offset", 1), ("timestamp_ms", 1))
    ),
    *(("provenance", PROVENANCE.model_copy(update={name: "other"})) for name in Provenance.model_fields),
    ("event_id", "e2"),
    ("policy_sha256", "bb"),
    ("length_signature", "dead_letter"),
]


def id_of(record: SourceRecord, event_id: str, **base: Any) -> str:
    return verdict_id(verdict_id_base(**base), record, event_id)


def test_p7_the_verdict_id_is_deterministic_and_its_form_is_fixed() -> None:
    assert id_of(**IDENTITY) == id_of(**IDENTITY)
    assert len(id_of(**IDENTITY)) == 32
    assert int(id_of(**IDENTITY), 16) >= 0


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_the_verdict_id_differs_where_the_judgement_could(name: str, value: object) -> None:
    assert id_of(**{**IDENTITY, name: value}) != id_of(**IDENTITY)


def test_the_verdict_id_does_not_depend_on_key_text_or_headers() -> None:
    other = RECORD._replace(key=b"k", value=b"text", headers=(("h", b"v"),))
    assert id_of(**{**IDENTITY, "record": other}) == id_of(**IDENTITY)
