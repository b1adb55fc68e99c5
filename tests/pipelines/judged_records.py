"""Records, guard answers and the outcome that `Moderation` makes of them."""

import json
from typing import Any

from pipelines.fitting.length_policy import LengthPolicy
from pipelines.fitting.structure import JUDGED_IN_PARTS, StructureRule
from pipelines.guard import GuardAnswer, Judged
from pipelines.moderation import Admitted, Moderation, Outcome
from pipelines.policy import Policy, load_policy
from schemas.dead_letter import DeadLetter
from schemas.errors import ItemError
from schemas.event import Task
from schemas.record import SourceRecord
from schemas.verdict import Provenance, Verdict

PROVENANCE = Provenance(model="m", revision="r1", prompt_sha256="p1", engine="e", dtype="d", parser="1")
SAFE, UNSAFE = "Safety: Safe\nCategories: None", "Safety: Unsafe\nCategories: Violent, PII"
CONTROVERSIAL = "Safety: Controversial\nCategories: Politically Sensitive Topics"
WINDOWS = LengthPolicy("window", 64, 8, 32)
LONG_TEXT = "the quick brown fox jumps over the lazy dog " * 30


def moderation(
    length: LengthPolicy | None = None,
    policy: Policy | None = None,
    structure: StructureRule | None = JUDGED_IN_PARTS,
) -> Moderation:
    return Moderation(
        policy or load_policy(None),
        length or LengthPolicy("window", 4096, 256, 32),
        max_event_bytes=100_000,
        group="weir",
        structure=structure,
    )


def record(task: Task = Task.PROMPT, text: str = "hello", **fields: Any) -> SourceRecord:
    messages = [{"role": "user", "content": text}]
    if task is Task.RESPONSE:
        messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text}]
    value = json.dumps({"event_id": "e1", "messages": messages, **fields}).encode()
    return SourceRecord("chat.events", 3, 41, 1_700_000_000_000, b"key", value, (("h", b"1"),))


def answer(text: str, **changes: Any) -> GuardAnswer:
    plain = GuardAnswer(text, None, None, 10, 8, finished=True, carrier={}, queue_ms=1.0, guard_ms=2.0)
    return plain._replace(**changes)


def decided(
    asked: SourceRecord, *results: GuardAnswer | ItemError, rules: Moderation | None = None
) -> Verdict | DeadLetter:
    rules = rules or moderation()
    admitted = rules.admit(asked)
    assert isinstance(admitted, Admitted)
    return read(rules.decide(admitted, [Judged(result, PROVENANCE, 1) for result in results]).outcome)


def read(outcome: Outcome) -> Verdict | DeadLetter:
    """An outcome as a model, which a verdict has to pass for."""
    return outcome if isinstance(outcome, DeadLetter) else outcome.read()
