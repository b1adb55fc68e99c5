"""What is done about a classification: treatment of Controversial, action, extra topics, per tenant; from a YAML file.

Takes a `Classification` and nothing else, so that output which did not parse can never reach it (P3).
Knows nothing of text, scores or Kafka. `pipelines.policy_rules` says what the file may hold.
"""

import hashlib
from pathlib import Path

from pipelines.guard_parser import Classification
from pipelines.policy_rules import (
    DEFAULT_ACTIONS,
    ControversialRules,
    Decision,
    PolicyFile,
    merged,
    read_policy,
    table_of,
)
from schemas.verdict import ACTION_RANK, SEVERITY_RANK


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
        self._general = table_of(rules)
        self._tenants = {tenant: table_of(merged(rules, own)) for tenant, own in rules.tenants.items()}

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


def load_policy(path: Path | None) -> Policy:
    """The policy of a file, or the built-in one (`as_is`; Safe allow, Controversial review, Unsafe block).

    Raises:
        ConfigurationError: naming the file, and the key and value that are wrong.
    """
    if path is not None:
        rules, content = read_policy(path)
        return Policy(rules, hashlib.sha256(content).hexdigest())
    rules = PolicyFile(name="default", version="1", controversial=ControversialRules(), actions=DEFAULT_ACTIONS)
    return Policy(rules, hashlib.sha256(rules.model_dump_json().encode()).hexdigest())
