"""The bytes that all verdicts of a kind share, with marks where they differ.

A test holds that what is filled in there gives the bytes of `Verdict.to_bytes`, for every verdict that there can be.
"""

import re
from typing import Any, NamedTuple

from schemas.event import Task
from schemas.handling import UNTOUCHED, Handling
from schemas.verdict import Action, AppliedPolicy, Category, LengthHandling, Provenance, Scores, Severity, Verdict


class Kind(NamedTuple):
    """All of a verdict that other verdicts have, too."""

    task: Task
    severity: Severity
    categories: tuple[Category, ...]
    refusal: bool | None
    action: Action
    treated_as: Severity
    length_policy: LengthHandling


# All of a verdict that is its own, in the order of `PARTICULARS`. No class of its own: one is made for each message.
Particulars = tuple[
    str, str, str | None, str, Scores | None, str, int, int, int, int, int, int, Handling, str, str, float, float
]  # fmt: skip
PARTICULARS = (
    "verdict_id", "event_id", "conversation_id", "tenant", "scores", "topic", "partition", "offset", "prompt_tokens",
    "output_tokens", "windows", "characters_dropped", "handling", "received_at", "judged_at", "queue_ms", "guard_ms",
)  # fmt: skip
_ANY: Particulars = ("-", "-", "-", "-", None, "-", 0, 0, 0, 0, 1, 0, UNTOUCHED, "-", "-", 0.0, 0.0)
# A quote within a string has a backslash before it, so this finds fields and nothing that stands in a value.
_FIELD = re.compile(rf'"({"|".join(PARTICULARS)})":("-"|null|\{{\}}|[0-9.]+)')
_ESCAPED = {"event_id", "conversation_id", "tenant", "scores", "topic", "handling", "queue_ms", "guard_ms"}


def form_of(kind: Kind, provenance: Provenance, policy: AppliedPolicy) -> bytes:
    """The bytes of a kind, with a mark for each particular, in order, as `%` fills them in.

    Raises:
        ValidationError: a kind that a verdict cannot be.
    """
    rest: dict[str, Any] = dict(zip(PARTICULARS, _ANY, strict=True))
    parts = {
        "source": ("topic", "partition", "offset"),
        "usage": ("prompt_tokens", "output_tokens", "windows", "characters_dropped"),
        "timing": ("received_at", "judged_at", "queue_ms", "guard_ms"),
    }
    fields: dict[str, Any] = {part: {name: rest.pop(name) for name in names} for part, names in parts.items()}
    fields["usage"]["length_policy"] = kind.length_policy
    fields["policy"] = policy
    fields["provenance"] = provenance
    shared = kind._asdict()
    del shared["treated_as"], shared["length_policy"]
    verdict = Verdict.model_validate({**rest, **fields, **shared})
    return _FIELD.sub(_mark, verdict.to_bytes().decode().replace("%", "%%")).encode()


def _mark(field: re.Match[str]) -> str:
    name, value = field[1], field[2]
    if name in _ESCAPED:
        return f'"{name}":%b'
    return f'"{name}":"%b"' if value == '"-"' else f'"{name}":%d'
