"""What a policy file may say, and what follows from it for one tenant.

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
the general one whole.
An unknown key, a key given twice or a value of the wrong type is refused by name.
"""

import itertools
import reprlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

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


DEFAULT_ACTIONS = {Severity.SAFE: Action.ALLOW, Severity.CONTROVERSIAL: Action.REVIEW, Severity.UNSAFE: Action.BLOCK}
_TREATED_AS = {
    Treatment.STRICT: Severity.UNSAFE,
    Treatment.LOOSE: Severity.SAFE,
    Treatment.AS_IS: Severity.CONTROVERSIAL,
}


class Decision(NamedTuple):
    """What to do; `topics` are the extra topics that the verdict goes to."""

    action: Action
    treated_as: Severity
    topics: tuple[str, ...]


Table = dict[tuple[Severity, Category | None], Decision]


def merged(general: Rules, own: Rules) -> Rules:
    """A tenant's rules: its own, and the general ones where it has none."""
    categories = general.category_actions.keys() | own.category_actions.keys()
    return Rules(
        controversial=own.controversial or general.controversial,
        actions={**general.actions, **own.actions},
        category_actions={
            category: {**general.category_actions.get(category, {}), **own.category_actions.get(category, {})}
            for category in categories
        },
        topics={**general.topics, **own.topics},
    )


def table_of(rules: Rules) -> Table:
    """What follows from rules, for every severity with and without each category."""
    controversial = rules.controversial or ControversialRules()
    actions = {**DEFAULT_ACTIONS, **rules.actions}

    def decision(severity: Severity, category: Category | None) -> Decision:
        treated_as = severity
        if severity is Severity.CONTROVERSIAL:
            treatment = controversial.categories.get(category) if category else None
            treated_as = _TREATED_AS[treatment or controversial.default]
        action = actions[treated_as]
        if category is not None and treated_as is not Severity.SAFE:
            action = rules.category_actions.get(category, {}).get(treated_as, action)
        return Decision(action, treated_as, rules.topics.get(action, ()))

    pairs = itertools.product(Severity, (None, *Category))
    return {(severity, category): decision(severity, category) for severity, category in pairs}


def read_policy(path: Path) -> tuple[PolicyFile, bytes]:
    """Read and check a file; the model and the bytes that it was read from.

    Raises:
        ConfigurationError: naming the file, and the key and value that are wrong.
    """
    try:
        content = path.read_bytes()
        loaded = strict_yaml.loaded(content)
    except OSError as error:
        raise ConfigurationError(f"policy file {path}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
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
