"""One verdict for tests that only carry it about; take copies with what they look at changed."""

from schemas.event import Task
from schemas.verdict import Action, AppliedPolicy, Provenance, Severity, Source, Timing, Usage, Verdict
from schemas.verdict_form import Kind
from schemas.verdict_writer import VerdictText


def text_of(verdict: Verdict) -> VerdictText:
    """A verdict as the writer gives it."""
    kind = Kind(
        verdict.task,
        verdict.severity,
        verdict.categories,
        verdict.refusal,
        verdict.action,
        verdict.policy.treated_as,
        verdict.usage.length_policy,
    )
    return VerdictText(
        verdict.to_bytes(),
        verdict.verdict_id,
        verdict.severity,
        verdict.action,
        verdict.provenance,
        kind,
        verdict.tenant,
        verdict.handling,
    )


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
VERDICT_TEXT = text_of(VERDICT)
