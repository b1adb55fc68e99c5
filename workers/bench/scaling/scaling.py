"""Autoscaling policies beside one another on the same days of traffic: seconds behind, and what it cost.

KEDA's threshold has no right value that could be known beforehand, so all of a list are tried, and two of them are
shown: the cheapest one, found in hindsight, that is as fresh as ours or has 99.9 % within the target; and the one that
whoever sets it would derive from the target. Does not print.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

from pipelines.autoscaling import Goal
from workers.bench.scaling.policies import clairvoyant, keda, ours, serve_default
from workers.bench.scaling.traffic import Traffic, rates
from workers.bench.scaling.world import Decide, Run, simulate

BOUNDS = (1, 200)
INTERVAL_S, KEDA_S = 2, 15
CHUNK, RECORDS_PER_REPLICA = 64, 500  # records of a call, and a second of one replica; they matter to Serve's default
CALLS_AT_ONCE = 25 * 64  # 25 consumers
ONGOING = 2.0  # Serve's default target_ongoing_requests
DOWNSCALE_DELAY_S = 120.0
FRESH = 0.999
# Seconds of one replica's work. What a replica that keeps up has unfinished is 0.75 of it in this world.
THRESHOLDS = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0, 1.5, 2.0, 4.0, 8.0, 15.0, 30.0)
HINDSIGHT, BY_TARGET = "lag threshold, best in hindsight", "lag threshold, from the target"
Step = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Traffic, and what it is served with."""

    name: str
    traffic: Traffic
    startup_s: int = 60
    target_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Side:
    """One policy on one scenario; `detail` is the threshold, where the policy has one."""

    policy: str
    detail: float | None
    run: Run


@dataclass(frozen=True, slots=True)
class Comparison:
    """All policies on one scenario.

    Attributes:
        work_hours: replica hours of the work itself, below which no schedule can be.
        sides: the clairvoyant first, ours second.
        tried: all lag thresholds.
    """

    scenario: str
    work_hours: float
    sides: list[Side]
    tried: list[Side]

    def over_clairvoyant(self, side: Side) -> float:
        """What a policy cost, beside the clairvoyant schedule."""
        return side.run.replica_hours / self.sides[0].run.replica_hours

    def saved(self, side: Side) -> float:
        """The share by which ours cost less."""
        return 1 - self.sides[1].run.replica_hours / side.run.replica_hours

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it; each minute of the sides only."""
        tried = [replace(side, run=replace(side.run, replicas=[], behind=[])) for side in self.tried]
        return asdict(replace(self, tried=tried))


def scenarios(days: int) -> list[Scenario]:
    """The usual week; more noise, more and higher spikes; replicas that start in 3 minutes; a tenth of the traffic."""
    return [
        Scenario("usual", Traffic(days)),
        Scenario("rough", Traffic(days, noise=0.05, spikes_per_day=10, highest_spike=2.0)),
        Scenario("slow start", Traffic(days), startup_s=180),
        Scenario("small", Traffic(days, mean=8.0, noise=0.08)),
    ]


def compare(scenario: Scenario, seed: int, step: Step = lambda _done, _all: None) -> Comparison:
    """Run all policies through one scenario.

    Args:
        scenario: traffic and start.
        seed: of the traffic.
        step: told of each run that is done, and how many there are.
    """
    arrivals = rates(scenario.traffic, seed)
    run = partial(
        simulate,
        arrivals,
        startup_s=scenario.startup_s,
        target_s=scenario.target_s,
        first=max(1, round(scenario.traffic.mean / 2)),
    )
    done = 0

    def counted(decide: Decide, interval_s: int = INTERVAL_S) -> Run:
        nonlocal done
        found = run(decide, interval_s=interval_s)
        done += 1
        step(done, len(THRESHOLDS) + 3)
        return found

    goal = Goal(scenario.target_s, startup_s=scenario.startup_s, replica_rate=1.0)
    sides = [
        Side("clairvoyant", None, counted(clairvoyant(arrivals, scenario.target_s, scenario.startup_s, BOUNDS))),
        Side("ours", None, counted(ours(goal, BOUNDS, DOWNSCALE_DELAY_S))),
        Side(
            "Ray Serve's default",
            ONGOING,
            counted(serve_default(CHUNK / RECORDS_PER_REPLICA, CALLS_AT_ONCE, ONGOING, BOUNDS)),
        ),
    ]
    tried = [Side("lag threshold", each, counted(keda(each, BOUNDS), KEDA_S)) for each in THRESHOLDS]
    sides.extend(_shown(tried, sides[1], scenario))
    return Comparison(scenario.name, sum(arrivals) / 3600, sides, tried)


def _shown(tried: list[Side], our: Side, scenario: Scenario) -> Iterator[Side]:
    wanted = min(FRESH, our.run.within)
    fresh = [side for side in tried if side.run.within >= wanted]
    if fresh:
        best = min(fresh, key=lambda side: side.run.replica_hours)
        yield Side(HINDSIGHT, best.detail, best.run)
    by_target = next(side for side in tried if side.detail == scenario.target_s / 2)
    yield Side(BY_TARGET, by_target.detail, by_target.run)
