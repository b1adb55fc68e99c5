"""One verdict for tests that only carry it about; take copies with what they look at changed."""

from schemas.event import Task
from schemas.verdict import Action, AppliedPolicy, Provenance, Severity, Source, Timing, Usage, Verdict
from schemas.verdict_writer import VerdictText

VERDICT = Verdict(
    verdict_id="v1",
    event_id="e",
    conversation_id=None,
    tenant="t",
    task=Task.PROMPT,
    severity=Severity.UNSAFE,
    categories=(),
    refusal=None,
    scores=None,
    action=Action.BLOCK,
    policy=AppliedPolicy(name="p", version="1", sha256="0", treated_as=Severity.UNSAFE),
    source=Source(topic="in", partition=5, offset=9),
    provenance=Provenance(model="m", revision="r", prompt_sha256="s", engine="e", dtype="d", parser="1"),
    usage=Usage(prompt_tokens=1, output_tokens=1, windows=1, length_policy="whole", characters_dropped=0),
    timing=Timing(received_at="a", judged_at="b", queue_ms=0, guard_ms=0),
)
VERDICT_TEXT = VerdictText(VERDICT.to_bytes(), VERDICT.verdict_id, VERDICT.severity, VERDICT.action, VERDICT.provenance)
