"""Writes verdicts as JSON without building a pydantic model for each.

The model is validated and serialised once for each kind of verdict, with marks where records differ. After that,
writing a verdict is filling in the marks. Building and dumping models took a sixth of a stream worker's time.
"""

import hashlib
from functools import lru_cache
from typing import NamedTuple

from pydantic_core import to_json

from schemas.handling import Handling
from schemas.record import SourceRecord
from schemas.verdict import Action, AppliedPolicy, Provenance, Severity, Verdict
from schemas.verdict_form import Kind, Particulars, form_of

MOST_KINDS = 1_024
_json_of = lru_cache(4_096)(to_json)  # of tenants and topics, which come again


class VerdictText(NamedTuple):
    """A verdict as it is published, and what others need to know of it."""

    value: bytes
    verdict_id: str
    severity: Severity
    action: Action
    provenance: Provenance
    kind: Kind
    tenant: str
    handling: Handling

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, as `Verdict.to_bytes`."""
        return self.value

    def read(self) -> Verdict:
        """The model of it."""
        return Verdict.model_validate_json(self.value)


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
            form = self._forms[kind] = form_of(kind, self.provenance, self._policies[kind.treated_as])
        name, event_id, conversation_id, tenant, scores, topic, *numbers, handling, received_at, judged_at = own[:-2]
        value = form % (
            name.encode(),
            to_json(event_id),
            b"null" if conversation_id is None else to_json(conversation_id),
            _json_of(tenant),
            b"null" if scores is None else scores.model_dump_json().encode(),
            _json_of(topic),
            *numbers,
            to_json(handling) if handling else b"{}",
            received_at.encode(),
            judged_at.encode(),
            *map(to_json, own[-2:]),
        )
        return VerdictText(value, name, kind.severity, kind.action, self.provenance, kind, tenant, handling)


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
