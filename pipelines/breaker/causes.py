"""Which dead letters may stop a worker: never those that somebody who only writes messages can cause.

A stranger chooses a message's text and how many of them there are. So what a text can bring about counts only while it
may be our own doing: model, prompt or policy are new, or this judge has not given one verdict yet.
`infra/docs/stops.md` has the table in words; a test holds both together.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum

from schemas.reasons import Reason


class Weight(StrEnum):
    """When dead letters of a reason count."""

    INPUT = "input"
    """Always, against the records taken in: what writes them broke the contract."""
    FAILURE = "failure"
    """Always, against the records judged: no text brings it about."""
    AFTER_CHANGE = "after_change"
    """Against the records judged, while it may be our own doing."""
    NEVER = "never"
    """A message alone can cause it."""


WEIGHT_OF: dict[Reason, Weight] = {
    Reason.TOMBSTONE: Weight.NEVER,
    Reason.UNREADABLE_BATCH: Weight.NEVER,
    Reason.EVENT_TOO_LARGE: Weight.NEVER,
    Reason.NOT_UTF8: Weight.NEVER,  # a text that was cut within a character
    Reason.INVALID_JSON: Weight.INPUT,
    Reason.NESTED_TOO_DEEPLY: Weight.NEVER,  # arguments of a tool
    Reason.MALFORMED_ROW: Weight.NEVER,  # of a file; no breaker counts these
    Reason.INVALID_CLOUDEVENT: Weight.INPUT,
    Reason.UNSUPPORTED_CONTENT_TYPE: Weight.INPUT,
    Reason.UNSUPPORTED_VERSION: Weight.INPUT,
    Reason.MISSING_FIELD: Weight.INPUT,
    Reason.WRONG_TYPE: Weight.INPUT,
    Reason.INVALID_VALUE: Weight.INPUT,
    Reason.EMPTY_MESSAGES: Weight.NEVER,  # a gateway hands on what its user sent
    Reason.BLANK_TEXT: Weight.NEVER,
    Reason.LONE_SURROGATE: Weight.NEVER,
    Reason.UNSUPPORTED_ROLE: Weight.NEVER,
    Reason.STRUCTURE_IN_TEXT: Weight.NEVER,
    Reason.TOO_LONG: Weight.NEVER,
    Reason.NOT_RENDERED: Weight.AFTER_CHANGE,
    Reason.CONTEXT_OVERFLOW: Weight.AFTER_CHANGE,
    Reason.NON_FINITE_LOGITS: Weight.FAILURE,
    Reason.INFERENCE_FAILED: Weight.AFTER_CHANGE,  # the guard has judged a known-good text at the same time
    Reason.REPLICA_CRASH: Weight.AFTER_CHANGE,
    Reason.UNPARSABLE_OUTPUT: Weight.AFTER_CHANGE,
    Reason.OUTPUT_CUT_OFF: Weight.AFTER_CHANGE,
    Reason.VERDICT_TOO_LARGE: Weight.NEVER,
    Reason.INTERNAL_ERROR: Weight.AFTER_CHANGE,
}


class Judges:
    """What judges: model, prompt and policy together, and when that last changed.

    Args:
        policy: digest of the policy.

    Attributes:
        name: of the present one, short and of no meaning; empty while none is known.
        changed_s: when it came in another one's place; None if it did not.
        is_proven: it has given a verdict, or has judged before this worker began.
    """

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self.name = ""
        self.changed_s: float | None = None
        self.is_proven = False

    def now(self, judge: str, now_s: float) -> str:
        """Take note of what judges now, model and prompt in any words; returns its name."""
        name = hashlib.sha256(f"{judge}\x1f{self._policy}".encode()).hexdigest()[:8]
        if self.name not in ("", name):
            self.changed_s = now_s
            self.is_proven = False
        self.name = name
        return name

    def restore(self, name: str) -> None:
        """Begin where an earlier worker ended."""
        if name:
            self.name, self.is_proven = name, True

    def begin_anew(self) -> None:
        """Forget that it changed, and that it has given a verdict."""
        self.changed_s, self.is_proven = None, False

    def counting(self, letters: Mapping[Reason, int], since_s: float) -> tuple[Counter[Reason], Counter[Reason]]:
        """Dead letters that count against the records judged, and those that count against the records taken in.

        Args:
            letters: by reason.
            since_s: a change from then on makes them our own doing.
        """
        is_ours = not self.is_proven or self.changed_since(since_s)
        judged = (Weight.FAILURE, Weight.AFTER_CHANGE) if is_ours else (Weight.FAILURE,)
        return _having(letters, judged), _having(letters, (Weight.INPUT,))

    def changed_since(self, then_s: float) -> bool:
        """Whether another one came in its place since then."""
        return self.changed_s is not None and self.changed_s >= then_s


def _having(letters: Mapping[Reason, int], weights: Sequence[Weight]) -> Counter[Reason]:
    return Counter({reason: count for reason, count in letters.items() if WEIGHT_OF[reason] in weights})
