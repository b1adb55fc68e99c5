"""The policies that the autoscaling simulation compares: ours, Serve's, KEDA's lag threshold, and a clairvoyant.

Each is a function of what the simulated world shows, in units of one replica's work.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import ceil

from pipelines.autoscaling import Demand, Goal, ReplicaPolicy, Supply
from workers.bench.scaling.ray_scaling import default_wish, with_delays
from workers.bench.scaling.world import Decide, View

LOOK_BACK_S = 30.0  # Serve's default
HPA_SYNC_S, HPA_TOLERANCE, HPA_STABLE_S = 15.0, 0.1, 300.0  # the Horizontal Pod Autoscaler's defaults
COMMIT_S = 1.0  # offsets are committed so often, so lag is that much more than what is unfinished
GRID_S = 10  # of the clairvoyant schedule


def ours(goal: Goal, bounds: tuple[int, int], downscale_delay_s: float) -> Decide:
    """Our policy behind Serve's own bounds and delays."""
    policy = ReplicaPolicy(goal)
    after = with_delays(
        min_replicas=bounds[0], max_replicas=bounds[1], upscale_delay_s=0.0, downscale_delay_s=downscale_delay_s
    )

    def decide(view: View) -> int:
        demand = Demand(view.backlog, view.oldest_age_s, view.arrival_rate)
        wanted = policy.desired(view.now, demand, Supply(view.running, view.target))
        return after(view.now, view.target if wanted is None else wanted, view.running, view.target)

    return decide


def serve_default(work_per_request: float, at_once: float, ongoing: float, bounds: tuple[int, int]) -> Decide:
    """Serve's default policy with its default delays, on calls that the consumers have under way.

    Args:
        work_per_request: of one call, which holds a chunk of records.
        at_once: calls that all consumers together have under way at most.
        ongoing: `target_ongoing_requests`.
        bounds: fewest and most replicas.
    """
    after = with_delays(min_replicas=bounds[0], max_replicas=bounds[1])
    wish = default_wish(ongoing)
    seen: deque[tuple[float, float]] = deque()
    total = 0.0

    def decide(view: View) -> int:
        nonlocal total
        requests = min(view.backlog / work_per_request, at_once)
        seen.append((view.now, requests))
        total += requests
        while view.now - seen[0][0] > LOOK_BACK_S:
            total -= seen.popleft()[1]
        return after(view.now, wish(total / len(seen), view.running, view.target), view.running, view.target)

    return decide


def keda(threshold: float, bounds: tuple[int, int]) -> Decide:
    """KEDA's kafka trigger with the Horizontal Pod Autoscaler's defaults.

    Args:
        threshold: `lagThreshold`, in seconds of one replica's work.
        bounds: fewest and most replicas; the input topics have as many partitions as the latter.
    """
    wishes: deque[tuple[float, int]] = deque()
    next_sync = 0.0

    def decide(view: View) -> int:
        nonlocal next_sync
        if view.now < next_sync:
            return view.target
        next_sync = view.now + HPA_SYNC_S
        lag = view.backlog + min(view.running, view.arrival_rate) * COMMIT_S / 2
        ratio = lag / threshold / max(1, view.target)
        wanted = view.target if abs(ratio - 1) <= HPA_TOLERANCE else ceil(lag / threshold)
        wishes.append((view.now, wanted))
        while view.now - wishes[0][0] > HPA_STABLE_S:
            wishes.popleft()
        if wanted > view.target:
            wanted = min(wanted, max(2 * view.target, view.target + 4))
        else:
            wanted = min(view.target, max(wish for _, wish in wishes))
        return min(bounds[1], max(bounds[0], wanted))

    return decide


def clairvoyant(arrivals: Sequence[float], target_s: float, startup_s: int, bounds: tuple[int, int]) -> Decide:
    """Knows all arrivals: the steadiest work that keeps every deadline, with replicas ordered early enough.

    Of all lines between what has arrived and what is due, the taut string changes its pace the least; it wastes only
    the rounding to whole replicas.
    """
    total = [0.0, *accumulate(arrivals)]
    last = len(arrivals)
    ticks = [*range(0, last, GRID_S), last]
    due = [total[max(0, tick - int(target_s) + GRID_S)] for tick in ticks[:-1]]
    pace = taut_string(ticks, [*due, total[last]], [total[tick] for tick in ticks])
    need = [min(bounds[1], max(bounds[0], ceil(rate - 1e-9))) for rate in pace]
    ahead = ceil(startup_s / GRID_S) + 1
    schedule = [max(need[at : at + ahead]) for at in range(len(need))]

    def decide(view: View) -> int:
        return schedule[min(int(view.now) // GRID_S, len(schedule) - 1)]

    return decide


def taut_string(ticks: Sequence[int], lower: Sequence[float], upper: Sequence[float]) -> list[float]:
    """Slopes, tick by tick, of the shortest line between two that do not fall, from the first point to the last."""
    first = (ticks[0], 0.0)
    below, above = deque([first]), deque([first])
    corners = [first]
    for point_below, point_above in list(
        zip(zip(ticks, lower, strict=True), zip(ticks, upper, strict=True), strict=True)
    )[1:]:
        _stretch(below, above, point_below, corners, lambda a, b: a <= b)
        _stretch(above, below, point_above, corners, lambda a, b: a >= b)
    rest = below if len(below) > len(above) else above
    corners.extend(list(rest)[1:])
    slopes: list[float] = []
    at = 0
    for tick in ticks[:-1]:
        while corners[at + 1][0] <= tick:
            at += 1
        slopes.append(_slope(corners[at], corners[at + 1]))
    return slopes


Point = tuple[int, float]


def _stretch(
    own: deque[Point], other: deque[Point], point: Point, corners: list[Point], bends: Callable[[float, float], bool]
) -> None:
    """Add a point to one side of the funnel; where it crosses the other side, the string has a corner."""
    while len(own) > 1 and bends(_slope(own[-2], own[-1]), _slope(own[-1], point)):
        own.pop()
    own.append(point)
    while len(own) == 2 and len(other) > 1 and bends(_slope(*list(other)[:2]), _slope(own[0], own[1])):
        if _slope(*list(other)[:2]) == _slope(own[0], own[1]):
            break
        other.popleft()
        corners.append(other[0])
        own.clear()
        own.extend([other[0], point])


def _slope(start: Point, end: Point) -> float:
    return (end[1] - start[1]) / (end[0] - start[0])
