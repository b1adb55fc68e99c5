"""The verdict: what Weir says of one event.

Except `timing`, every field is a function of the record, the model and the policy (P7).
No field that decides has a default: a verdict without a parsed severity cannot be built (P3).
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.event import Identifier, Task
from schemas.handling import Handled

SCHEMA_VERSION = "1.0"
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
LengthHandling = Literal["whole", "truncated_middle", "windowed"]


class Severity(StrEnum):
    """The three labels of Qwen3Guard."""

    SAFE = "Safe"
    CONTROVERSIAL = "Controversial"
    UNSAFE = "Unsafe"


class Category(StrEnum):
    """Qwen3Guard's categories, by their names in the model's own output; Jailbreak exists for prompts only."""

    VIOLENT = "Violent"
    NON_VIOLENT_ILLEGAL_ACTS = "Non-violent Illegal Acts"
    SEXUAL_CONTENT = "Sexual Content or Sexual Acts"
    PII = "PII"
    SELF_HARM = "Suicide & Self-Harm"
    UNETHICAL_ACTS = "Unethical Acts"
    POLITICALLY_SENSITIVE = "Politically Sensitive Topics"
    COPYRIGHT_VIOLATION = "Copyright Violation"
    JAILBREAK = "Jailbreak"


class Action(StrEnum):
    """What the tenant's policy wants done."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"


# Both are declared from the mildest on.
SEVERITY_RANK = {severity: rank for rank, severity in enumerate(Severity)}
ACTION_RANK = {action: rank for rank, action in enumerate(Action)}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Part):
    """The input record that was judged."""

    topic: str
    partition: Count
    offset: Count


class Provenance(_Part):
    """What judged: enough to tell whether another judgement would be the same."""

    model: str = Field(description="hub name or folder name of the model")
    revision: str = Field(description="commit of the hub, or digest of a folder behind any name set")
    prompt_sha256: str = Field(description="digest of chat template and tokenizer")
    engine: str
    dtype: str
    parser: str = Field(description="version of the output grammar")


class AppliedPolicy(_Part):
    """The policy that turned a classification into an action."""

    name: str
    version: str
    sha256: str = Field(description="digest of the policy file's content")
    treated_as: Severity = Field(description="severity after the tenant's treatment of Controversial")


class Usage(_Part):
    """Tokens spent, over all windows; and what the length policy did to the text."""

    prompt_tokens: Count
    output_tokens: Count
    windows: Annotated[int, Field(ge=1)]
    length_policy: LengthHandling
    characters_dropped: Count


class Scores(_Part):
    """Label probabilities read at the verdict positions, where the engine gives them."""

    severity: dict[Severity, Probability]
    categories: dict[str, Probability] = Field(description="by category name; None stands for no category")
    refusal: Probability | None = Field(description="of a refusal; null for the prompt task")


class Timing(_Part):
    """When and how long; differs between duplicates."""

    received_at: str = Field(description="RFC 3339, UTC")
    judged_at: str = Field(description="RFC 3339, UTC")
    queue_ms: Annotated[float, Field(ge=0)] = Field(description="from receipt to the start of the GPU batch")
    guard_ms: Annotated[float, Field(ge=0)] = Field(description="time in the GPU batch")


class Verdict(_Part):
    """One judged event."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    schema_version: Literal["1.0"] = "1.0"
    verdict_id: str = Field(description="equal for duplicates of one judgement, else unique")
    event_id: Identifier
    conversation_id: Identifier | None
    tenant: Identifier
    task: Task
    severity: Severity
    categories: tuple[Category, ...]
    refusal: bool | None = Field(description="null for the prompt task")
    scores: Scores | None
    action: Action
    policy: AppliedPolicy
    source: Source
    provenance: Provenance
    usage: Usage
    handling: dict[Handled, Annotated[int, Field(gt=0)]] = Field(
        {}, description="what of the event was repaired, dropped or not assessed, by code, and how much of it"
    )
    timing: Timing

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, fields in declared order."""
        return self.model_dump_json().encode()
