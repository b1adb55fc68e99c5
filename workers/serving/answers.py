"""Turns an engine's completions into answers of the guard port, alike for Ray Serve and for commands.

Knows nothing of batching or of Ray.
"""

from collections.abc import Mapping

from pipelines.guard import GuardAnswer
from schemas.reasons import Reason
from workers.serving.engine.completion import Completion, CompletionError

REASON_OF_ERROR: dict[CompletionError, Reason] = {
    "not_rendered": Reason.NOT_RENDERED,
    "unsupported_role": Reason.UNSUPPORTED_ROLE,
    "empty_conversation": Reason.EMPTY_MESSAGES,
    "context_overflow": Reason.CONTEXT_OVERFLOW,
    "invalid_text": Reason.LONE_SURROGATE,
    "non_finite_logits": Reason.NON_FINITE_LOGITS,
    "rejected": Reason.INFERENCE_FAILED,
}


def answer_of(
    completion: Completion, carrier: Mapping[str, str], *, queue_ms: float = 0.0, guard_ms: float = 0.0
) -> GuardAnswer:
    """One answer; see `GuardAnswer` for the fields."""
    return GuardAnswer(
        text=completion.text,
        error=None if completion.error is None else REASON_OF_ERROR[completion.error],
        scores=completion.scores,
        prompt_tokens=completion.prompt_tokens,
        output_tokens=completion.output_tokens,
        finished=completion.finish == "stop",
        carrier=carrier,
        queue_ms=queue_ms,
        guard_ms=guard_ms,
    )
