"""Replicas for a backlog, with the time in the test's hand: look-ahead, dead band, zero and back, missing figures."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.autoscaling import Demand, Goal, ReplicaPolicy, Supply, consumers_needed

TARGET_S, STARTUP_S, RATE = 60.0, 20.0, 100.0
GOAL = Goal(TARGET_S, startup_s=STARTUP_S, replica_rate=RATE)
replicas = st.integers(0, 300)
backlogs = st.floats(0, 1e7)
rates = st.floats(0, 1e5)
ages = st.none() | st.floats(0, 1e6)


def wanted(demand: Demand | None, running: int, target: int | None = None, goal: Goal = GOAL) -> int | None:
    """What a policy that has just begun says."""
    return ReplicaPolicy(goal).desired(0.0, demand, Supply(running, running if target is None else target))


def test_arrivals_alone_ask_for_the_replicas_that_they_keep_busy() -> None:
    assert wanted(Demand(0, 0.0, 250.0), 1) == 3
    assert wanted(Demand(0, 0.0, 250.0), 3) == 3
    assert wanted(Demand(0, 0.0, 100.0), 3) == 2


def test_a_backlog_asks_for_what_does_it_within_the_target() -> None:
    # 6,000 records are 60 s of one replica; two that come after 20 s have done 40 s of it within half of the target.
    assert wanted(Demand(6_000, 30.0, 0.0), 1) == 4
    assert wanted(Demand(2_500, 10.0, 50.0), 1) == 1  # done in 25 s by the one that is there


def test_a_slower_start_asks_for_more_because_more_will_wait_by_then() -> None:
    spike = Demand(500, 2.0, 600.0)
    slow = Goal(TARGET_S, startup_s=120.0, replica_rate=RATE)

    assert wanted(spike, 2) == 6
    assert wanted(spike, 2, goal=slow) == 17


def test_replicas_that_are_on_their_way_are_not_ordered_again() -> None:
    policy = ReplicaPolicy(GOAL)
    assert policy.desired(0.0, Demand(3_000, 5.0, 500.0), Supply(1, 1)) == 5
    backlog = 3_000.0
    for second in range(1, 20):
        backlog += 500 - 100
        assert policy.desired(float(second), Demand(backlog, 5.0 + second, 500.0), Supply(1, 5)) == 5


@pytest.mark.parametrize("load", [2.95, 3.0, 3.05])
def test_a_load_at_the_edge_of_what_replicas_can_do_does_not_make_them_come_and_go(load: float) -> None:
    """Half an hour of a queue that fills and empties, with arrivals that are measured a little too high and too low."""
    policy = ReplicaPolicy(GOAL)
    running, target, backlog = 3, 3, 0.0
    changes = []
    for second in range(1_800):
        arrivals = load * RATE * (1 + 0.015 * (second % 3 - 1))
        backlog = max(0.0, backlog + load * RATE - running * RATE)
        found = policy.desired(float(second), Demand(backlog, backlog / RATE / 3, arrivals), Supply(running, target))
        assert found is not None
        if found != target:
            changes.append((second, found))
        running = target = found

    assert len(changes) <= 1, changes


def test_it_comes_down_when_those_that_are_left_have_time_to_spare() -> None:
    assert wanted(Demand(0, 0.0, 396.0), 5) == 5  # four would be busy for 99 % of the time
    assert wanted(Demand(0, 0.0, 376.0), 5) == 4
    assert wanted(Demand(12_000, 20.0, 376.0), 5) == 5  # not while there is a backlog to be done


def test_none_are_wanted_only_when_nothing_arrives_and_nothing_waits() -> None:
    assert wanted(Demand(0, 0.0, 0.0), 1) == 0
    assert wanted(Demand(0, 0.0, 0.01), 1) == 1
    assert wanted(Demand(1, 0.1, 0.0), 1) == 1
    assert wanted(Demand(1, 0.1, 0.0), 0) == 1
    assert wanted(Demand(0, 0.0, 0.0), 0) == 0


def test_a_missing_figure_is_no_opinion_and_never_zero() -> None:
    assert wanted(None, 5) is None
    assert wanted(Demand(10_000, None, None), 5) is None


def test_a_part_of_the_figures_may_ask_for_more_but_not_for_fewer() -> None:
    assert wanted(Demand(0, 0.0, 10.0, is_complete=False), 5) is None
    assert wanted(Demand(0, 0.0, 1_000.0, is_complete=False), 5) == 10


def test_what_a_busy_replica_does_is_learnt_and_kept_when_it_goes() -> None:
    policy = ReplicaPolicy(Goal(TARGET_S, startup_s=STARTUP_S))
    demand = Demand(3_000, 5.0, 80.0, completion_rate=50.0)
    assert policy.desired(0.0, demand, Supply(1, 1, busy=1.0)) == 1  # its rates are still those of before
    assert policy.desired(20.0, demand, Supply(1, 1, busy=0.5)) == 1  # and half of its time says nothing
    assert policy.desired(21.0, demand, Supply(1, 1, busy=1.0)) == 4  # 60 s of work, 40 s of it left for 10 s

    assert policy.desired(22.0, Demand(0, 0.0, 140.0), Supply(0, 0)) == 3


def test_without_a_rate_there_is_one_and_more_only_when_it_is_late() -> None:
    policy = ReplicaPolicy(Goal(TARGET_S, startup_s=STARTUP_S))
    assert policy.desired(0.0, Demand(5, 1.0, 0.0), Supply(0, 0)) == 1
    assert policy.desired(1.0, Demand(5_000, 30.0, 90.0), Supply(1, 1)) == 1
    assert policy.desired(100.0, Demand(9_000, 61.0, 90.0), Supply(1, 1)) == 1
    assert policy.desired(130.0, Demand(9_500, 75.0, 90.0), Supply(1, 1)) == 2
    assert policy.desired(131.0, Demand(9_600, 76.0, 90.0), Supply(1, 2)) == 2  # wait for what was ordered


def test_records_that_are_late_although_the_figures_say_otherwise_get_a_quarter_more() -> None:
    policy = ReplicaPolicy(GOAL)
    demand = Demand(2_000, 70.0, 350.0)
    assert policy.desired(0.0, demand, Supply(4, 4)) == 4
    assert policy.desired(1.0, replace(demand, oldest_age_s=71.0), Supply(4, 4)) == 5


def test_one_record_that_is_stuck_asks_for_nothing() -> None:
    policy = ReplicaPolicy(GOAL)
    for second in range(600):
        assert policy.desired(float(second), Demand(3, float(second), 150.0), Supply(2, 2)) == 2


def test_how_long_a_start_takes_is_learnt() -> None:
    policy = ReplicaPolicy(GOAL)
    for second in range(200):
        policy.desired(float(second), Demand(0, 0.0, 150.0), Supply(1, 2))
    policy.desired(200.0, Demand(0, 0.0, 150.0), Supply(2, 2))

    slower = Goal(TARGET_S, startup_s=(STARTUP_S + 200) / 2, replica_rate=RATE)
    spike = Demand(500, 2.0, 600.0)
    assert policy.desired(300.0, spike, Supply(2, 2)) == wanted(spike, 2, goal=slower)


@settings(deadline=None)
@given(backlogs, backlogs, rates, rates, replicas)
def test_more_work_never_asks_for_fewer(backlog: float, more: float, rate: float, faster: float, running: int) -> None:
    less = wanted(Demand(backlog, 0.0, rate), running)
    found = wanted(Demand(backlog + more, 0.0, rate + faster), running)
    assert less is not None
    assert found is not None
    assert less <= found


@settings(deadline=None)
@given(backlogs, ages, rates, replicas, replicas)
def test_what_is_asked_for_is_bounded_by_the_work(
    backlog: float, age: float | None, rate: float, running: int, starting: int
) -> None:
    found = wanted(Demand(backlog, age, rate), running, running + starting)
    assert found is not None
    assert 0 <= found <= running + starting + (backlog + rate * (STARTUP_S + TARGET_S)) / RATE + 1


@settings(deadline=None)
@given(st.floats(0, 2e4), st.integers(1, 200))
def test_under_a_steady_load_it_changes_once_at_most(rate: float, running: int) -> None:
    policy = ReplicaPolicy(GOAL)
    seen = []
    for second in range(0, 600, 2):
        found = policy.desired(float(second), Demand(0, 0.0, rate), Supply(running, running))
        assert found is not None
        seen.append(found)
        running = found
    assert set(seen[1:]) == {seen[0]}


@pytest.mark.parametrize(
    ("guards", "partitions", "consumers"), [(0, 4, 1), (8, 4, 1), (9, 4, 2), (200, 4, 4), (200, 64, 25), (200, 0, 25)]
)
def test_consumers_follow_the_guard_up_to_the_partitions(guards: int, partitions: int, consumers: int) -> None:
    assert consumers_needed(guards, 8, partitions) == consumers
