"""Verdicts written without a model: the same bytes as the model's own, for all that a verdict can be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.event import Task
from schemas.handling import UNTOUCHED, Handled
from schemas.verdict import Action, AppliedPolicy, Category, Provenance, Scores, Severity, Verdict
from schemas.verdict_form import PARTICULARS, Kind, Particulars
from schemas.verdict_writer import MOST_KINDS, VerdictWriter

# Whatever would be taken for a field, a place or a value of one, if it were not escaped; and what JSON escapes.
TRAPS = [
    '"offset":0', '\\"offset\\":0', '"event_id":"-"', "-", "%d %b %%", '"scores":null', "\u2028\x00\x1f", "é😀\\\"",
    "null", "0.0", '"handling":{}',
]  # fmt: skip
TEXT = st.one_of(st.sampled_from(TRAPS), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
COUNT = st.integers(0, 2**63 - 1)
MILLISECONDS = st.floats(0, 1e12)
SHARE = st.floats(0, 1)
PROVENANCES = st.builds(Provenance, **dict.fromkeys(Provenance.model_fields, TEXT))
SCORES = st.builds(
    Scores,
    severity=st.dictionaries(st.sampled_from(Severity), SHARE),
    categories=st.dictionaries(TEXT, SHARE),
    refusal=st.none() | SHARE,
)
KINDS = st.builds(
    Kind,
    task=st.sampled_from(Task),
    severity=st.sampled_from(Severity),
    categories=st.lists(st.sampled_from(Category), unique=True).map(tuple),
    refusal=st.sampled_from([None, True, False]),
    action=st.sampled_from(Action),
    treated_as=st.sampled_from(Severity),
    length_policy=st.sampled_from(["whole", "truncated_middle", "windowed"]),
)
STAMP = st.just("2026-11-21T10:00:00.000+00:00")
OWN = st.tuples(
    st.text("0123456789abcdef", min_size=32, max_size=32),  # verdict_id
    TEXT,  # event_id
    st.none() | TEXT,  # conversation_id
    TEXT,  # tenant
    st.none() | SCORES,
    TEXT,  # topic
    COUNT,
    COUNT,
    COUNT,
    COUNT,
    st.integers(1, 1000),  # windows
    COUNT,
    st.dictionaries(st.sampled_from(Handled), st.integers(1, 2**40)),
    STAMP,
    STAMP,
    MILLISECONDS,
    MILLISECONDS,
)


def policies(name: str) -> dict[Severity, AppliedPolicy]:
    return {
        severity: AppliedPolicy(name=name, version="9000000001", sha256="0", treated_as=severity)
        for severity in Severity
    }


def model_of(kind: Kind, own: Particulars, provenance: Provenance, applied: dict[Severity, AppliedPolicy]) -> Verdict:
    """The verdict as its model has it."""
    given: dict[str, Any] = dict(zip(PARTICULARS, own, strict=True)) | kind._asdict()
    source = {name: given.pop(name) for name in ("topic", "partition", "offset")}
    usage = {
        name: given.pop(name)
        for name in ("prompt_tokens", "output_tokens", "windows", "length_policy", "characters_dropped")
    }
    timing = {name: given.pop(name) for name in ("received_at", "judged_at", "queue_ms", "guard_ms")}
    policy = applied[given.pop("treated_as")]
    return Verdict.model_validate(
        {**given, "source": source, "usage": usage, "timing": timing, "policy": policy, "provenance": provenance}
    )


@given(kind=KINDS, first=OWN, second=OWN, provenance=PROVENANCES, name=TEXT)
def test_p7_what_is_written_is_what_the_model_writes(
    kind: Kind, first: Particulars, second: Particulars, provenance: Provenance, name: str
) -> None:
    applied = policies(name)
    writer = VerdictWriter(provenance, applied)
    for own in (first, second):  # the second one fills in a form that was derived for the first
        text, model = writer.write(kind, own), model_of(kind, own, provenance, applied)
        assert text.value == model.to_bytes()
        assert text.read() == model
        assert (text.verdict_id, text.severity, text.action) == (model.verdict_id, model.severity, model.action)


def test_p3_no_kind_is_written_that_a_verdict_cannot_be() -> None:
    provenance = Provenance(**dict.fromkeys(Provenance.model_fields, "x"))
    severity: Any = "Fine"
    kind = Kind(Task.PROMPT, severity, (), None, Action.ALLOW, Severity.SAFE, "whole")
    own: Particulars = ("0", "e", None, "t", None, "in", 0, 0, 1, 1, 1, 0, UNTOUCHED, "a", "b", 0.0, 0.0)

    with pytest.raises(ValidationError):
        VerdictWriter(provenance, policies("p")).write(kind, own)


def test_p9_the_forms_kept_are_bounded() -> None:
    writer = VerdictWriter(Provenance(**dict.fromkeys(Provenance.model_fields, "x")), policies("p"))
    own: Particulars = ("0", "e", None, "t", None, "in", 0, 0, 1, 1, 1, 0, UNTOUCHED, "a", "b", 0.0, 0.0)
    names = list(Category)
    for number in range(MOST_KINDS + 100):
        first, second, third = number % 9, number // 9 % 9, number // 81 % 9
        categories = (names[first], names[second], names[third], names[number // 729 % 9])
        writer.write(Kind(Task.PROMPT, Severity.UNSAFE, categories, None, Action.BLOCK, Severity.UNSAFE, "whole"), own)
        assert len(writer._forms) <= MOST_KINDS  # noqa: SLF001
