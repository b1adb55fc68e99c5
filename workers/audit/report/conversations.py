"""Finds the conversations with the largest share of Unsafe, in two passes over a run.

The first pass counts Unsafe verdicts only, which are few, and keeps a bounded number of conversations; the second
counts all their verdicts. So the figures are exact; the bound can only change which conversations are listed, and then
`cut` says so.
"""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.evaluation.agreement import wilson_interval
from schemas.verdict import Severity
from workers.audit.report.counts import group_of, pair_counts
from workers.audit.report.model import Breakdown, Group

CONVERSATION = ["tenant", "conversation_id"]
MOST_CANDIDATES = 50_000


class ConversationCounts:
    """Give it all Unsafe verdicts by `add_unsafe`, then all verdicts by `add`.

    Args:
        most: candidates kept; beyond, the half with the fewest Unsafe verdicts is dropped.
    """

    def __init__(self, most: int = MOST_CANDIDATES) -> None:
        self._most = most
        self._unsafe = Counter[str]()
        self._keys: Any = None
        self._severities: dict[str, Counter[str]] = {}
        self._categories: dict[str, Counter[str]] = {}
        self._cut = False

    def add_unsafe(self, batch: Any) -> None:
        """Look for candidates in a batch with the columns `CONVERSATION`."""
        known = batch.filter(pc.is_valid(batch["conversation_id"]))
        for entry in pc.value_counts(_keys(known)).to_pylist():
            self._unsafe[entry["values"]] += entry["counts"]
        if len(self._unsafe) > self._most:
            self._unsafe = Counter(dict(self._unsafe.most_common(self._most // 2)))
            self._cut = True

    def add(self, batch: Any) -> None:
        """Count the candidates in a batch with the columns `CONVERSATION`, `severity` and `categories`."""
        if self._keys is None:
            self._keys = pa.array(list(self._unsafe), pa.string())
        keys = _keys(batch)
        chosen = pc.is_in(keys, value_set=self._keys)
        rows = batch.filter(chosen)
        keys = keys.filter(chosen)
        if not rows.num_rows:
            return
        for key, label, count in pair_counts(keys, rows["severity"]):
            self._severities.setdefault(key, Counter())[label] += count
        of_rows = keys.take(pc.list_parent_indices(rows["categories"]))
        for key, label, count in pair_counts(of_rows, pc.list_flatten(rows["categories"])):
            self._categories.setdefault(key, Counter())[label] += count

    def breakdown(self, listed: int) -> Breakdown:
        """The leading ones by the lower bound of their share of Unsafe, so that tiny conversations do not lead.

        One of a single message is no conversation to look into, and where most are, they would be all of the list.
        """

        def rank(key: str) -> tuple[float, int, str]:
            severities = self._severities[key]
            unsafe = severities[Severity.UNSAFE.value]
            return -wilson_interval(unsafe, severities.total())[0], -unsafe, key

        several = [key for key, severities in self._severities.items() if severities.total() > 1]
        groups = [self._group(key) for key in sorted(several, key=rank)[:listed]]
        found = len(self._severities)
        return Breakdown(listed=groups, rest=None, distinct=found, cut=self._cut, alone=found - len(several))

    def _group(self, key: str) -> Group:
        length, _, names = key.partition(":")
        tenant, conversation = names[: int(length)], names[int(length) + 1 :]
        return group_of(conversation, self._severities[key], self._categories.get(key, Counter()), tenant)


def _keys(batch: Any) -> Any:
    """Tenant and conversation as one string; with the tenant's length, so that no two pairs have one key."""
    tenants = batch["tenant"]
    lengths = pc.utf8_length(tenants).cast(pa.string())
    return pc.binary_join_element_wise(lengths, tenants, batch["conversation_id"], ":")
