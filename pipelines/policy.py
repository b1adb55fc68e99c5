"""What is done about a classification: treatment of Controversial, action, extra topics, per tenant.

Takes a `Classification` and nothing else, so that output which did not parse can never reach it (P3).
Knows nothing of text, scores or Kafka.
"""

import hashlib
import itertools
from pathlib import Path
from typing import NamedTuple

from pipelines.guard_parser import Classification
from pipelines.policy_file import ControversialRules, PolicyFile, Rules, Treatment, read_policy_file
from schemas.verdict import ACTION_RANK, SEVERITY_RANK, Action, Category, Severity

_DEFAULT_ACTIONS = {Severity.SAFE: Action.ALLOW, Severity.CONTROVERSIAL: Action.REVIEW, Severity.UNSAFE: Action.BLOCK}
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


class Policy:
    """One loaded policy. Immutable.

    Args:
        rules: the file's content.
        sha256: hex digest that stands for that content in verdicts.
    """

    def __init__(self, rules: PolicyFile, sha256: str) -> None:
        self.name = rules.name
        self.version = rules.version
        self.sha256 = sha256
        self._general = _table(rules)
        self._tenants = {tenant: _table(_merged(rules, own)) for tenant, own in rules.tenants.items()}

    @property
    def topics(self) -> tuple[str, ...]:
        """Every extra topic that a decision can name, sorted."""
        tables = (self._general, *self._tenants.values())
        return tuple(sorted({topic for table in tables for decision in table.values() for topic in decision.topics}))

    def decide(self, classification: Classification, tenant: str) -> Decision:
        """The decision for one classification; every combination has one.

        Each category is treated and acted upon by itself; the worst treatment and the strictest action win.
        """
        table = self._tenants.get(tenant, self._general)
        severity, categories = classification.severity, classification.categories
        if len(categories) < 2:
            return table[severity, categories[0] if categories else None]
        decisions = [table[severity, category] for category in categories]
        strictest = max(decisions, key=lambda decision: ACTION_RANK[decision.action])
        treated_as = max((decision.treated_as for decision in decisions), key=SEVERITY_RANK.__getitem__)
        return Decision(strictest.action, treated_as, strictest.topics)


_Table = dict[tuple[Severity, Category | None], Decision]


def load_policy(path: Path | None) -> Policy:
    """The policy of a file, or the built-in one (`as_is`; Safe allow, Controversial review, Unsafe block).

    Raises:
        ConfigurationError: naming the file, and the key and value that are wrong.
    """
    if path is not None:
        rules, content = read_policy_file(path)
        return Policy(rules, hashlib.sha256(content).hexdigest())
    rules = PolicyFile(name="default", version="1", controversial=ControversialRules(), actions=_DEFAULT_ACTIONS)
    return Policy(rules, hashlib.sha256(rules.model_dump_json().encode()).hexdigest())


def _merged(general: Rules, own: Rules) -> Rules:
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


def _table(rules: Rules) -> _Table:
    controversial = rules.controversial or ControversialRules()
    actions = {**_DEFAULT_ACTIONS, **rules.actions}

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
