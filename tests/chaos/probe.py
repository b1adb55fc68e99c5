"""Progress of every instance and of every partition, judged over a timeline; a violation names its mechanism.

Pure: takes samples, gives sentences. `workers` alive, group stable, heartbeats sent and an offset that stands still is
a failure of its own kind, whatever the rest of the fleet does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.fleet import SILENT, Report

STALE_S = 3.0
STABLE = "Stable"


@dataclass(frozen=True)
class Instance:
    """One worker at one time. `exit_code` is None while its process exists."""

    report: Report = SILENT
    exit_code: int | None = None
    is_frozen: bool = False


@dataclass(frozen=True)
class Sample:
    """What was seen at one time, in seconds of the machine's monotonic clock.

    Attributes:
        state: of the group, as the coordinator names it.
        owners: which instance the coordinator has given each partition.
        committed: committed offset of each partition, 0 where there is none.
        ends: offset behind the last record of each partition: where the group has to get to.
        instances: every worker that was ever started, by name.
    """

    at: float
    state: str
    owners: Mapping[int, str]
    committed: Mapping[int, int]
    ends: Mapping[int, int]
    instances: Mapping[str, Instance] = field(default_factory=dict)

    def lag(self, partition: int) -> int:
        """Records of a partition that the group has not committed."""
        return self.ends.get(partition, 0) - self.committed.get(partition, 0)


def violations(samples: Sequence[Sample], bound_s: float) -> list[str]:
    """What has stood still for longer than `bound_s` up to the last sample although there was work for it."""
    if not samples:
        return []
    last = samples[-1]
    found = [f"instance {name} ended by itself with {one.exit_code}" for name, one in _ended(last)]
    for partition in sorted(last.ends):
        stands_s = _stands_s(samples, partition)
        if last.lag(partition) > 0 and stands_s > bound_s:
            what = f"frozen committed offset with lag: partition {partition} at {last.committed.get(partition, 0)}"
            of = f"of {last.ends[partition]} for {stands_s:.0f} s"
            found.append(f"{what} {of}; {_mechanism(samples, partition, stands_s)}")
    for name, one in sorted(last.instances.items()):
        held = sorted(p for p, owner in last.owners.items() if owner == name and last.lag(p) > 0)
        idle_s = _idle_s(samples, name)
        if held and one.exit_code is None and not one.is_frozen and idle_s > bound_s:
            found.append(
                f"instance holds partitions without progress: {name} has {held} with lag and {_doing(one.report)}"
                f" for {idle_s:.0f} s"
            )
    return found


def steps_back(samples: Sequence[Sample]) -> list[str]:
    """Committed offsets that became smaller: a member that had lost its partitions has committed over its successor."""
    found = []
    highest: dict[int, int] = {}
    for sample in samples:
        for partition, offset in sample.committed.items():
            if offset < highest.get(partition, 0):
                found.append(f"committed offset of partition {partition} went back: {highest[partition]} to {offset}")
            highest[partition] = max(highest.get(partition, 0), offset)
    return found


def _ended(sample: Sample) -> list[tuple[str, Instance]]:
    # Killed ones have negative codes, stopped ones 0.
    return [(name, one) for name, one in sorted(sample.instances.items()) if (one.exit_code or 0) > 0]


def _stands_s(samples: Sequence[Sample], partition: int) -> float:
    """For how long a partition has had lag and an unchanged committed offset."""
    last = samples[-1]
    since = last.at
    for sample in reversed(samples):
        same = sample.committed.get(partition, 0) == last.committed.get(partition, 0)
        if not same or partition not in sample.ends or sample.lag(partition) <= 0:
            break
        since = sample.at
    return last.at - since


def _idle_s(samples: Sequence[Sample], name: str) -> float:
    """For how long an instance has held partitions with lag and completed nothing."""
    last = samples[-1]
    since = last.at
    for sample in reversed(samples):
        one = sample.instances.get(name)
        holds = any(owner == name and p in sample.ends and sample.lag(p) > 0 for p, owner in sample.owners.items())
        if one is None or not holds or one.report.completed != last.instances[name].report.completed:
            break
        since = sample.at
    return last.at - since


def _mechanism(samples: Sequence[Sample], partition: int, stands_s: float) -> str:
    last = samples[-1]
    if last.state != STABLE:
        return f"the group has been in {last.state} and not become stable"
    owner = last.owners.get(partition)
    if owner is None:
        return "the group is stable and nobody owns it"
    one = last.instances.get(owner)
    if one is None:
        return f"owned by {owner}, which is none of ours"
    if one.exit_code is not None:
        return f"owned by {owner}, which has ended and not been expelled"
    if one.is_frozen:
        return f"owned by {owner}, which is frozen and not been expelled"
    if last.at - one.report.at > STALE_S:
        return f"owned by {owner}, whose process runs and says nothing"
    if _idle_s(samples, owner) < stands_s / 2:
        return f"group stable, {owner} heartbeats and completes records, but does not commit this partition"
    return f"group stable, {owner} heartbeats and {_doing(one.report)}"


def _doing(report: Report) -> str:
    health = "calls itself healthy" if report.stuck is None else f"says: {report.stuck}"
    if report.in_flight == 0:
        return f"takes nothing ({health})"
    if report.in_call:
        return f"waits for the guard with {report.in_flight} in flight ({health})"
    return f"completes none of {report.in_flight} in flight ({health})"
