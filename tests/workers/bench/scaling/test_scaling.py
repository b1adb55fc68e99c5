"""The simulated world, its accounting, and what its figures rest on; the week itself is `weir bench autoscale`."""

import json
from itertools import accumulate
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from workers.bench.scaling.policies import clairvoyant, keda, taut_string
from workers.bench.scaling.scaling import BY_TARGET, Scenario, compare
from workers.bench.scaling.traffic import Traffic, rates
from workers.bench.scaling.world import View, simulate
from workers.cli.app import app


def test_traffic_is_the_same_for_a_seed_and_keeps_to_its_ceiling() -> None:
    traffic = Traffic(days=1, ceiling=120.0)

    assert rates(traffic, 3) == rates(traffic, 3)
    assert rates(traffic, 3) != rates(traffic, 4)
    assert max(rates(traffic, 3)) == 120.0


def test_a_burst_waits_its_turn_and_what_starts_costs() -> None:
    """Forty at once before one replica, which gets three more that take ten seconds to start."""
    arrivals = [40.0, *[0.0] * 39]
    run = simulate(arrivals, lambda view: 4 if view.now < 30 else 1, startup_s=10, interval_s=1, target_s=18, first=1)

    # One a second for ten seconds, then four: 10 + 4 * 7.5.
    assert run.worst_s == 17
    assert run.within == 1
    assert run.replica_hours == pytest.approx((30 * 4 + 10) / 3600)
    assert run.changes == 2
    late = simulate(arrivals, lambda _: 1, startup_s=10, interval_s=1, target_s=18, first=1)
    assert (late.worst_s, late.within) == (39, 0)


def test_orders_are_taken_back_newest_first_and_before_replicas_that_run() -> None:
    seen = []

    def decide(view: View) -> int:
        seen.append((view.running, view.target))
        return {0: 5, 1: 3, 2: 1}.get(int(view.now), 1)

    simulate([1.0] * 15, decide, startup_s=10, interval_s=1, target_s=10, first=2)

    assert seen[:4] == [(2, 2), (2, 5), (2, 3), (1, 1)]
    assert seen[-1] == (1, 1)


corridors = st.lists(st.tuples(st.floats(0, 50), st.integers(0, 6)), min_size=2, max_size=60)


@given(corridors)
def test_a_taut_string_stays_between_what_came_and_what_is_due(steps: list[tuple[float, int]]) -> None:
    upper = [0.0, *accumulate(work for work, _ in steps)]
    lower = [upper[max(0, at - slack)] for at, (_, slack) in enumerate([(0.0, 0), *steps])]
    lower = list(accumulate(lower, max))
    lower[0], lower[-1] = 0.0, upper[-1]
    slopes = taut_string(range(len(upper)), lower, upper)
    line = [0.0, *accumulate(slopes)]

    assert len(slopes) == len(upper) - 1
    for low, at, high in zip(lower, line, upper, strict=True):
        assert low - 1e-6 <= at <= high + 1e-6


def test_a_clairvoyant_has_replicas_there_in_time_and_no_more_than_are_needed() -> None:
    arrivals = [2.0] * 600 + [10.0] * 600 + [2.0] * 600
    decide = clairvoyant(arrivals, 60, 120, (1, 200))
    run = simulate(arrivals, decide, startup_s=120, interval_s=10, target_s=60, first=2)

    assert run.within == 1
    early_s, rounded_s, last_s = 140, 70, 540  # ordered before the rise; whole ones; and nothing is left at the end
    assert run.replica_hours <= (sum(arrivals) + 8 * early_s + 10 * rounded_s + last_s) / 3600


def test_a_lag_threshold_settles_where_each_replica_has_so_much_before_it() -> None:
    decide = keda(0.5, (1, 200))
    view = View(0.0, 9.625, 1.0, 0.75, 10, 10)

    assert decide(view) == ceil((9.625 + 0.75 / 2) / 0.5)
    assert decide(View(15.0, 0.0, 0.0, 0.0, 10, 20)) == 20  # not for five minutes
    assert decide(View(400.0, 0.0, 0.0, 0.0, 20, 20)) == 1


def test_a_day_is_within_the_target_at_little_more_than_a_clairvoyant_s_cost() -> None:
    found = compare(Scenario("a day", Traffic(days=1)), 7)
    best, our, serve, *_, by_target = found.sides

    assert best.run.within >= our.run.within >= 0.999
    assert found.over_clairvoyant(our) <= 1.15
    assert our.run.replica_hours > found.work_hours
    assert by_target.policy == BY_TARGET
    assert min(found.saved(serve), found.saved(by_target)) >= 0.2


def test_an_unknown_scenario_is_refused_with_those_that_there_are() -> None:
    done = CliRunner().invoke(app, ["bench", "autoscale", "--scenario", "unusual"])

    assert done.exit_code == 2
    assert "usual" in done.output


@pytest.mark.slow
def test_the_command_prints_json() -> None:
    done = CliRunner().invoke(app, ["bench", "autoscale", "--days", "1", "--scenario", "usual", "--json"])

    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert [comparison["scenario"] for comparison in printed["comparisons"]] == ["usual"]
    assert len(printed["comparisons"][0]["sides"][1]["run"]["replicas"]) == 1440
