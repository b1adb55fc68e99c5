"""Writes verdicts as JSON without building a pydantic model for each.

The model is validated and serialised once for each kind of verdict, with marks where records differ. After that,
writing a verdict is filling in the marks. Building and dumping models took a sixth of a stream worker's time. A test
holds that the bytes are those of `Verdict.to_bytes`, for every verdict that there can be.
"""

import hashlib
import re
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic_core import to_json

from schemas.event import Task
from schemas.record import SourceRecord
from schemas.verdict import Action, AppliedPolicy, Category, Handling, Provenance, Scores, Severity, Verdict

MOST_KINDS = 1_024
_json_of = lru_cache(4_096)(to_json)  # of tenants and topics, which come again


class Kind(NamedTuple):
    """All of a verdict that other verdicts have, too."""

    task: Task
    severity: Severity
    categories: tuple[Category, ...]
    refusal: bool | None
    action: Action
    treated_as: Severity
    length_policy: Handling


class VerdictText(NamedTuple):
    """A verdict as it is published, and what others need to know of it."""

    value: bytes
    verdict_id: str
    severity: Severity
    action: Action
    provenance: Provenance
    kind: Kind
    tenant: str

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, as `Verdict.to_bytes`."""
        return self.value

    def read(self) -> Verdict:
        """The model of it."""
        return Verdict.model_validate_json(self.value)


# All of a verdict that is its own, in the order of `PARTICULARS`. No class of its own: one is made for each message.
Particulars = tuple[
    str, str, str | None, str, Scores | None, str, int, int, int, int, int, int, str, str, float, float
]  # fmt: skip
PARTICULARS = (
    "verdict_id", "event_id", "conversation_id", "tenant", "scores", "topic", "partition", "offset", "prompt_tokens",
    "output_tokens", "windows", "characters_dropped", "received_at", "judged_at", "queue_ms", "guard_ms",
)  # fmt: skip
_ANY: Particulars = ("-", "-", "-", "-", None, "-", 0, 0, 0, 0, 1, 0, "-", "-", 0.0, 0.0)
# A quote within a string has a backslash before it, so this finds fields and nothing that stands in a value.
_FIELD = re.compile(rf'"({"|".join(PARTICULARS)})":("-"|null|[0-9.]+)')
_ESCAPED = {"event_id", "conversation_id", "tenant", "scores", "topic", "queue_ms", "guard_ms"}


class VerdictWriter:
    """Writes the verdicts of one model under one policy.

    Args:
        provenance: what judged.
        policies: the applied policy by the severity that it treated the verdict as.
    """

    def __init__(self, provenance: Provenance, policies: dict[Severity, AppliedPolicy]) -> None:
        self.provenance = provenance
        self._policies = policies
        self._forms: dict[Kind, bytes] = {}

    def write(self, kind: Kind, own: Particulars) -> VerdictText:
        """One verdict. Its parts are what a validated event, the parser and the policy gave, and not checked again.

        Raises:
            ValidationError: a kind that a verdict cannot be.
        """
        form = self._forms.get(kind)
        if form is None:
            if len(self._forms) >= MOST_KINDS:
                self._forms.clear()
            form = self._forms[kind] = self._form(kind)
        name, event_id, conversation_id, tenant, scores, topic, *numbers, received_at, judged_at, queue_ms, guard_ms = (
            own
        )
        value = form % (
            name.encode(),
            to_json(event_id),
            b"null" if conversation_id is None else to_json(conversation_id),
            _json_of(tenant),
            b"null" if scores is None else scores.model_dump_json().encode(),
            _json_of(topic),
            *numbers,
            received_at.encode(),
            judged_at.encode(),
            to_json(queue_ms),
            to_json(guard_ms),
        )
        return VerdictText(value, name, kind.severity, kind.action, self.provenance, kind, tenant)

    def _form(self, kind: Kind) -> bytes:
        """The bytes of a kind, with a mark for each particular, in order, as `%` fills them in."""
        rest: dict[str, Any] = dict(zip(PARTICULARS, _ANY, strict=True))
        parts = {
            "source": ("topic", "partition", "offset"),
            "usage": ("prompt_tokens", "output_tokens", "windows", "characters_dropped"),
            "timing": ("received_at", "judged_at", "queue_ms", "guard_ms"),
        }
        fields: dict[str, Any] = {part: {name: rest.pop(name) for name in names} for part, names in parts.items()}
        fields["usage"]["length_policy"] = kind.length_policy
        fields["policy"] = self._policies[kind.treated_as]
        fields["provenance"] = self.provenance
        shared = kind._asdict()
        del shared["treated_as"], shared["length_policy"]
        verdict = Verdict.model_validate({**rest, **fields, **shared})
        return _FIELD.sub(_mark, verdict.to_bytes().decode().replace("%", "%%")).encode()


def _mark(field: re.Match[str]) -> str:
    name, value = field[1], field[2]
    if name in _ESCAPED:
        return f'"{name}":%b'
    return f'"{name}":"%b"' if value == '"-"' else f'"{name}":%d'


def verdict_id_base(provenance: Provenance | None, policy_sha256: str, length_signature: str) -> "hashlib._Hash":
    """What all verdict ids of one model, policy and length rule share; to be given to `verdict_id`."""
    parts = (*(provenance.model_dump().values() if provenance else ()), policy_sha256, length_signature)
    return hashlib.sha256("\x1f".join(parts).encode())


def verdict_id(base: "hashlib._Hash", record: SourceRecord, event_id: str) -> str:
    """Deterministic id: the record's source and all that decides its verdict, never its text.

    The record's timestamp is in it, because a topic that is deleted and created again gives its offsets anew.
    """
    digest = base.copy()
    source = f"\x1e{record.topic}\x1f{record.partition}\x1f{record.offset}\x1f{record.timestamp_ms}\x1f{event_id}"
    digest.update(source.encode())
    return digest.hexdigest()[:32]
