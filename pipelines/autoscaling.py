"""How many replicas it takes to stay within a target of seconds behind: the arithmetic behind autoscaling.

A replica that is ordered now helps only once its model is loaded, so what counts is the backlog at that time. Three
things ask for replicas: what arrives, the backlog that there will be by then, and the records that wait now and can
still be in time. The first has a dead band around it, so that a steady load keeps the replicas that it has.

The caller applies bounds and delays, as Ray Serve does. A figure that is missing is no opinion.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil

LATE_STEP = 0.25  # more replicas, where records are late although the figures say that they should not be
PREDICTABLE = 4.0  # overdue replicas are waited for until this many times the usual start
BUSY = 0.9  # replicas that worked for so much of the time do what they can
CAUTION = 2.0  # replicas go when what waits is this many times less than what would bring new ones
SETTLE_S = 15.0  # after a change, rates are still those of before
RATE_S = 10.0  # what is seen for so long counts as much as all before
MAX_STARTUP_S = 900.0
STARTUP_WEIGHT = 0.5  # of the newest start that was seen


@dataclass(frozen=True, slots=True)
class Demand:
    """What the consumers know.

    Attributes:
        backlog: records that arrived and are not finished.
        oldest_age_s: age of the oldest of them; None where it is unknown.
        arrival_rate: records a second; None where it is unknown.
        completion_rate: records a second that were finished lately; None where it is unknown.
        is_complete: False where a consumer has not said anything, so that there may be more than this.
    """

    backlog: float
    oldest_age_s: float | None
    arrival_rate: float | None
    completion_rate: float | None = None
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Supply:
    """What works on it.

    Attributes:
        running: replicas that answer.
        target: replicas that were ordered, those that are still starting included.
        busy: share of the time that they worked lately, the mean of all that run; None where one has not said.
    """

    running: int
    target: int
    busy: float | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What to keep to.

    Attributes:
        target_seconds_behind: no record should be unfinished for longer.
        margin: share of it to plan with; the rest is for what cannot be foreseen.
        startup_s: from the order of a replica to its first answer, until that has been seen.
        replica_rate: records a second of a busy replica, until that has been seen; None: nobody knows.
        rise: arrivals may exceed what replicas can do by this share before more are ordered; the backlog still counts.
        fall: replicas go when those that are left would be busy for less than all but this share of the time.
    """

    target_seconds_behind: float
    margin: float = 0.5
    startup_s: float = 60.0
    replica_rate: float | None = None
    rise: float = 0.02
    fall: float = 0.05


class ReplicaPolicy:
    """Decides for one deployment; remembers what was measured and what was ordered.

    Args:
        goal: what to keep to.
    """

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._rate = goal.replica_rate
        self._startup_s = goal.startup_s
        self._ordered: deque[float] = deque()  # of replicas that are starting: when
        self._running = 0
        self._settled_at = self._last = self._last_order = -float("inf")
        self._youngest_age: float | None = None

    def desired(self, now: float, demand: Demand | None, supply: Supply) -> int | None:
        """Replicas to have, or None for no opinion.

        Args:
            now: seconds; never less than at the last call.
            demand: None where no consumer has said anything.
            supply: the deployment as it is.
        """
        self._learn(now, demand, supply)
        if demand is None or demand.arrival_rate is None:
            return None
        if self._rate is None:
            wanted = self._without_rate(now, demand, supply)
        else:
            wanted = self._with_rate(now, demand, supply, self._rate)
        if not demand.is_complete and wanted <= supply.target:
            return None
        if wanted > supply.target:
            self._last_order = now
        return wanted

    def _learn(self, now: float, demand: Demand | None, supply: Supply) -> None:
        """What a start takes, and what a busy replica does; the latter only where rates are those of these replicas."""
        starting = max(0, supply.target - supply.running)
        came = supply.running - self._running
        while len(self._ordered) > starting:
            ordered = self._ordered.popleft()
            if came > 0:
                came -= 1
                self._startup_s += (min(now - ordered, MAX_STARTUP_S) - self._startup_s) * STARTUP_WEIGHT
        while len(self._ordered) < starting:
            self._ordered.append(now)
        if supply.running != self._running:
            self._running, self._settled_at = supply.running, now + SETTLE_S
        passed, self._last = min(now - self._last, RATE_S), now
        if now < self._settled_at or not supply.running or (supply.busy or 0.0) < BUSY or demand is None:
            return
        if demand.completion_rate and demand.is_complete:
            seen = demand.completion_rate / supply.running
            self._rate = seen if self._rate is None else self._rate + (seen - self._rate) * passed / RATE_S

    def _without_rate(self, now: float, demand: Demand, supply: Supply) -> int:
        """No replica has been busy yet, so its rate is unknown: order one, and more only when records are late."""
        if supply.target == 0:
            return int(demand.backlog > 0 or (demand.arrival_rate or 0) > 0)
        if self._is_late(now, demand, demand.backlog):
            return supply.target * 2
        return supply.target

    def _with_rate(self, now: float, demand: Demand, supply: Supply, rate: float) -> int:
        goal = self._goal
        arriving = (demand.arrival_rate or 0.0) / rate  # in replicas, as all that follows
        waiting = demand.backlog / rate  # seconds of one replica
        startup = self._startup_s
        behind_s = goal.target_seconds_behind * goal.margin
        done = self._capacity_until(now, startup, supply.running)
        # A record that comes when the new replicas begin finds this before it, and should wait behind_s at most.
        backlog = max(0.0, waiting + arriving * startup - done) / behind_s
        if behind_s > startup:  # the records that wait now can still be helped
            backlog = max(backlog, (waiting - done) / (behind_s - startup))
        if ceil(max(arriving / (1 + goal.rise), backlog)) > supply.target:
            return ceil(max(arriving, backlog))
        if self._is_late(now, demand, waiting - supply.running):
            return supply.target + ceil(supply.target * LATE_STEP)
        fewer = ceil(max(arriving / (1 - goal.fall), backlog, waiting / behind_s * CAUTION))
        return min(supply.target, fewer)

    def _capacity_until(self, now: float, startup: float, running: int) -> float:
        """Replica seconds from now until a replica that is ordered now is there."""
        early = 0.0
        for ordered in self._ordered:
            if now - ordered < PREDICTABLE * startup:  # else it may never come
                early += min(startup, now - ordered)
        return running * startup + early

    def _is_late(self, now: float, demand: Demand, work: float) -> bool:
        """Records are late and do not get younger, there is work to share, and what was ordered last is at work."""
        age, youngest = demand.oldest_age_s, self._youngest_age
        target_s = self._goal.target_seconds_behind
        if age is None or age <= target_s or work <= 0:
            self._youngest_age = None
            return False
        if youngest is None or age < youngest:
            self._youngest_age = age
            return False
        return now - self._last_order >= self._startup_s + target_s * self._goal.margin


def consumers_needed(replicas: int, replicas_per_consumer: int, partitions: int) -> int:
    """Consumers for a number of guard replicas: one at least, and none without a partition.

    Args:
        replicas: guard replicas that are to be kept busy.
        replicas_per_consumer: how many of them one consumer can.
        partitions: of the input topics; 0 where unknown.
    """
    wanted = max(1, ceil(replicas / replicas_per_consumer))
    return min(wanted, partitions) if partitions else wanted
