"""The world in which autoscaling policies are tried: a queue, replicas that take time to start, and the cost.

Work is a fluid, second by second, in units of one replica's work: a busy replica does 1 a second. First come, first
served. Knows no policy.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LATENCY_S = 0.25  # of a record that does not wait: what is unfinished even with replicas to spare
RATE_S = 5  # arrivals are those of so long, as `workers.stream.backlog` measures them


@dataclass(frozen=True, slots=True)
class View:
    """What a policy may see.

    Attributes:
        now: second.
        backlog: unfinished work.
        oldest_age_s: of the oldest unfinished work.
        arrival_rate: over the last seconds.
        running: replicas at work.
        target: replicas ordered.
    """

    now: float
    backlog: float
    oldest_age_s: float
    arrival_rate: float
    running: int
    target: int


@dataclass(frozen=True, slots=True)
class Run:
    """How it went.

    Attributes:
        replica_hours: of all ordered replicas, starting ones included.
        within: share of the work that was finished within the target.
        p999_s, worst_s: seconds behind of the 99.9th percentile, and the most.
        changes: how often the target changed.
        replicas: mean target of each minute.
        behind: most seconds behind of the work that arrived in each minute.
    """

    replica_hours: float
    within: float
    p999_s: float
    worst_s: float
    changes: int
    replicas: list[float]
    behind: list[float]


Decide = Callable[[View], int]


def simulate(
    arrivals: Sequence[float], decide: Decide, *, startup_s: int, interval_s: int, target_s: float, first: int
) -> Run:
    """Let a policy run replicas through all of the traffic.

    Args:
        arrivals: work that arrives in each second.
        decide: replicas to have, asked every `interval_s`.
        startup_s: from order to first answer; a replica costs from its order on.
        interval_s: seconds between two questions.
        target_s: seconds behind that still count as fresh.
        first: replicas at the beginning.
    """
    running = target = first
    starting: deque[tuple[int, int]] = deque()
    arrived: list[float] = []
    done: list[float] = []
    arrived_sum = done_sum = cost = 0.0
    oldest = changes = 0
    costs: list[float] = []
    for second, work in enumerate(arrivals):
        while starting and starting[0][0] <= second:
            running += starting.popleft()[1]
        if second % interval_s == 0:
            while oldest < second and arrived[oldest] <= done_sum + 1e-9:
                oldest += 1
            back = arrived[second - RATE_S - 1] if second > RATE_S else 0.0
            rate = (arrived_sum - back) / min(second, RATE_S) if second else work
            waiting = arrived_sum - done_sum
            wanted = decide(View(second, waiting + LATENCY_S * work, float(second - oldest), rate, running, target))
            changes += wanted != target
            if wanted > target:
                starting.append((second + startup_s, wanted - target))
            running -= _cancel(starting, max(0, target - wanted))
            target = wanted
        arrived_sum += work
        done_sum = min(arrived_sum, done_sum + running)
        arrived.append(arrived_sum)
        done.append(done_sum)
        cost += target
        costs.append(target)
    return _summed(arrivals, arrived, done, costs, cost, target_s, changes)


def _cancel(starting: deque[tuple[int, int]], fewer: int) -> int:
    """Take orders back, the newest first; returns how many replicas that run have to go as well."""
    while fewer and starting:
        ready, count = starting.pop()
        if count > fewer:
            starting.append((ready, count - fewer))
            return 0
        fewer -= count
    return fewer


def _summed(
    arrivals: Sequence[float],
    arrived: Sequence[float],
    done: Sequence[float],
    costs: Sequence[float],
    cost: float,
    target_s: float,
    changes: int,
) -> Run:
    waits: list[tuple[float, float]] = []
    behind = [0.0] * (len(arrivals) // 60 + 1)
    finished = 0
    for second, total in enumerate(arrived):
        finished = max(finished, second)
        while finished < len(done) and done[finished] < total - 1e-6:
            finished += 1
        wait = float(finished - second)
        waits.append((wait, arrivals[second]))
        behind[second // 60] = max(behind[second // 60], wait)
    work = arrived[-1]
    late = sum(amount for wait, amount in waits if wait > target_s)
    waits.sort()
    left = work / 1000
    p999 = waits[-1][0]
    for wait, amount in reversed(waits):
        left -= amount
        if left <= 0:
            p999 = wait
            break
    minutes = [sum(costs[at : at + 60]) / len(costs[at : at + 60]) for at in range(0, len(costs), 60)]
    return Run(cost / 3600, 1 - late / work, p999, waits[-1][0], changes, minutes, behind[: len(minutes)])
