"""What is said of a turn while it is written, and at its end: a function of its text, the model and its settings.

Nothing in it tells when or how it was computed: a turn that is judged again gives the same bytes (P7).
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.event import Identifier
from schemas.turns.frame import Number, TurnRole
from schemas.verdict import Action, AppliedPolicy, Count, Probability, Severity

TurnEnd = Literal[
    "final",
    "idle",
    "gap",
    "too_long",
    "context_overflow",
    "empty_conversation",
    "inference_failed",
    "invalid_text",
    "non_finite_logits",
    "not_rendered",
    "replica_crash",
    "unsupported_role",
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StreamProvenance(_Part):
    """What judged: enough to tell whether another judgement would be the same."""

    model: str = Field(description="hub name or folder name of the model")
    revision: str = Field(description="commit of the hub, or digest of a folder behind any name set")
    prompt_sha256: str = Field(description="digest of chat template and tokenizer")
    engine: str
    dtype: str
    debounce: Literal["paper", "script"] = Field(
        description="what raises an answer: two tokens in a row that are not Safe, or that have the same label"
    )


class StreamVerdict(_Part):
    """What is said of one turn at one of its tokens: that it was raised, or how it ended.

    `risk`, `category` and `probabilities` are those of the token. They are null where a turn ended before a token of it
    was judged: such a turn is not known to be Safe.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    schema_version: Literal["1.0"] = "1.0"
    verdict_id: str = Field(description="equal when the turn is judged again")
    conversation_id: Identifier
    tenant: Identifier
    turn: Number
    role: TurnRole = Field(description="whose text the token is in: with an answer, the user's turn is judged as well")
    index: Count | None = Field(description="number of the token in its text, from 0")
    offset: Count | None = Field(description="characters of the text up to the token's end")
    risk: Severity | None
    category: str | None = Field(description="the likeliest one; null where the risk is Safe")
    probabilities: dict[str, dict[str, Probability]] | None = Field(description="by head (risk, category) and label")
    provisional: bool = Field(description="what comes next can still change the token, which is said again then")
    raised: bool = Field(description="the text is flagged, at this token or before it")
    action: Action | None = Field(
        description="what the tenant's policy wants done: of a raise, about this token; of the last verdict, the"
        " strictest that was said of the turn's own text, or what Safe gets. Null where a turn was never raised and not"
        " judged to its end"
    )
    policy: AppliedPolicy | None = Field(description="null where there is no action")
    final: bool = Field(description="this is the last verdict of its turn")
    end: TurnEnd | None = Field(
        description="why it is the last: final, as the turn's writer said; otherwise the turn was not judged to its end"
    )
    provenance: StreamProvenance | None = Field(description="null where no model was asked")

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, fields in declared order."""
        return self.model_dump_json().encode()


def stream_verdict_id(
    tenant: str,
    conversation_id: str,
    turn: int,
    said: tuple[str, int | None, str, str | None],
    provenance: StreamProvenance | None,
) -> str:
    """Deterministic id of a verdict: the turn's own name, what is said of it, and what judged; never its text.

    `said` is the role, the index of the token, "raised" or the end, and the digest of the policy that was applied.
    """
    parts = (tenant, conversation_id, turn, *said, *(provenance.model_dump().values() if provenance else ()))
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
