"""The policy file: what an operator may write, read strictly.

    name: community
    version: "7"
    controversial: as_is            # strict (as Unsafe), loose (as Safe), as_is; or
    # controversial: {default: as_is, categories: {Jailbreak: strict, Politically Sensitive Topics: loose}}
    actions: {Safe: allow, Controversial: review, Unsafe: block}
    category_actions:
      Suicide & Self-Harm: {Controversial: review, Unsafe: review}
    topics: {block: [moderation.blocked]}
    tenants:
      kids: {controversial: strict, topics: {review: [kids.review]}}

A tenant's `actions`, `category_actions` and `topics` replace the general ones key by key; its `controversial` replaces
the general one whole. An unknown key, a key given twice or a value of the wrong type is refused by name.
Does not decide anything; `pipelines.policy` does.
"""

import reprlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from pipelines import strict_yaml
from schemas.errors import ConfigurationError
from schemas.event import Identifier
from schemas.verdict import Action, Category, Severity

Label = Annotated[str, StringConstraints(strict=True, pattern=r"^[^\s\x00-\x1f][^\x00-\x1f]*$", max_length=128)]
TopicName = Annotated[
    str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$", max_length=249)
]
# A category's action for Safe could only come from loosely treated text, which is to be treated like any safe text.
CategoryActions = dict[Category, dict[Literal[Severity.CONTROVERSIAL, Severity.UNSAFE], Action]]


class Treatment(StrEnum):
    """What Controversial counts as."""

    STRICT = "strict"
    LOOSE = "loose"
    AS_IS = "as_is"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ControversialRules(_Part):
    """Treatment of Controversial, by category where one is named."""

    default: Treatment = Treatment.AS_IS
    categories: dict[Category, Treatment] = {}


class Rules(_Part):
    """What holds for all tenants, or replaces it for one; what is not given is None or missing."""

    controversial: ControversialRules | None = None
    actions: dict[Severity, Action] = {}
    category_actions: CategoryActions = {}
    topics: dict[Action, tuple[TopicName, ...]] = {}

    @field_validator("controversial", mode="before")
    @classmethod
    def _expand_word(cls, value: Any) -> Any:
        return {"default": value} if isinstance(value, str) else value


class PolicyFile(Rules):
    """One policy file."""

    name: Label
    version: Label = Field(description="the operator's own; in YAML a number needs quotes")
    tenants: dict[Identifier, Rules] = {}


def read_policy_file(path: Path) -> tuple[PolicyFile, bytes]:
    """Read and check a file; the model and the bytes that it was read from.

    Raises:
        ConfigurationError: naming the file, and the key and value that are wrong.
    """
    try:
        content = path.read_bytes()
        loaded = strict_yaml.loaded(content)
    except OSError as error:
        raise ConfigurationError(f"policy file {path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"policy file {path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"policy file {path}: a mapping is needed, found {type(loaded).__name__}")
    try:
        return PolicyFile.model_validate(loaded), content
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, found {reprlib.repr(fault['input'])}"
            for fault in error.errors(include_url=False)
        )
    raise ConfigurationError(f"policy file {path}: {faults}")
