"""What the shadow lane writes: disagreements of a candidate with what was decided live, and counts.

Ids and verdicts only, never message text. Nothing here was ever enforced.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from schemas.event import Identifier
from schemas.reasons import Reason
from schemas.verdict import Count, Severity, Source, Verdict

Label = Severity | Literal["dead_letter"]


class Difference(StrEnum):
    """A way in which two outcomes of one event differ."""

    OUTCOME = "outcome"
    """One is a dead letter and the other is not, or they are dead letters for different reasons."""
    SEVERITY = "severity"
    CATEGORIES = "categories"
    REFUSAL = "refusal"
    ACTION = "action"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShadowJudge(_Part):
    """A model and a policy as the settings name them; what a verdict's provenance says is what really judged."""

    model: str
    revision: str | None = Field(description="null where the settings pin none")
    policy_name: str
    policy_version: str
    policy_sha256: str


class ShadowOutcome(_Part):
    """What one side made of an event: a verdict, or no verdict for this reason."""

    verdict: Verdict | None
    reason: Reason | None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.verdict is None) is (self.reason is None):
            raise ValueError("either a verdict or a reason")
        return self


class ShadowDisagreement(_Part):
    """One event that the candidate would have treated otherwise."""

    schema_version: Literal["1.0"] = "1.0"
    kind: Literal["disagreement"] = "disagreement"
    event_id: Identifier
    source: Source
    differences: tuple[Difference, ...] = Field(min_length=1)
    live: ShadowOutcome
    candidate: ShadowOutcome


class ShadowPair(_Part):
    """How often live said the one and the candidate the other."""

    live: Label
    candidate: Label
    count: Annotated[int, Field(gt=0)]


class ShadowSummary(_Part):
    """What one consumer's lane did between two times; the counts of different summaries can be added up."""

    schema_version: Literal["1.0"] = "1.0"
    kind: Literal["summary"] = "summary"
    worker: str = Field(description="a random name, new with each start of a consumer")
    started_at: str = Field(description="RFC 3339, UTC")
    ended_at: str = Field(description="RFC 3339, UTC")
    share: Annotated[float, Field(gt=0, le=1)]
    live: ShadowJudge
    candidate: ShadowJudge
    agreed: Count
    disagreed: Count
    dropped: Count = Field(description="left out because enough waited for the candidate already")
    unanswered: Count = Field(description="left out because the candidate gave no answer in time, or failed")
    unpublished: Count = Field(description="disagreements and summaries that could not be written")
    differences: dict[Difference, Count] = Field(description="of the disagreements; one may have several")
    pairs: tuple[ShadowPair, ...] = Field(description="of all that were compared, those that agreed included")


ShadowRecord = Annotated[ShadowDisagreement | ShadowSummary, Field(discriminator="kind")]
SHADOW_RECORD: TypeAdapter[ShadowDisagreement | ShadowSummary] = TypeAdapter(ShadowRecord)
