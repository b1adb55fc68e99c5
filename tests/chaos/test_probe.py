"""Detectors are seen to fire, each with the name of the mechanism; and to be quiet where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.fleet import Report
from tests.chaos.probe import STABLE, Instance, Sample, steps_back, violations

BOUND_S = 10.0


def report(at: float, completed: int = 0, **more: Any) -> Report:
    made = {"in_flight": 0, "in_call": 0, "is_full": False, "stuck": None, "failure": None, "resident_kb": 1}
    return Report(at=at, completed=completed, **{**made, **more})


def watch(**change: Callable[[float], Any]) -> list[Sample]:
    """Twenty seconds of two partitions, both at 5 of 10: w1 owns 0 and w2 owns 1; what is changed is told by time."""
    samples = []
    for second in range(21):
        at = float(second)
        plain: dict[str, Callable[[float], Any]] = {
            "state": lambda _: STABLE,
            "owners": lambda _: {0: "w1", 1: "w2"},
            "committed": lambda at: {0: 5, 1: int(at)},
            "ends": lambda _: {0: 10, 1: 40},
            "instances": lambda at: {"w1": Instance(report(at, 5)), "w2": Instance(report(at, int(at)))},
        }
        samples.append(Sample(at, **{name: (change.get(name) or made)(at) for name, made in plain.items()}))
    return samples


def first(**change: Callable[[float], Any]) -> str:
    return next(iter(violations(watch(**change), BOUND_S)), "nothing")


def instances(**of_w1: Any) -> Callable[[float], dict[str, Instance]]:
    def at_time(at: float) -> dict[str, Instance]:
        told = {name: value(at) if callable(value) else value for name, value in of_w1.items()}
        process = {name: told.pop(name) for name in ("exit_code", "is_frozen") if name in told}
        spoken = told.pop("at", at)
        one = report(spoken, told.pop("completed", 5), **told)
        return {"w1": Instance(one, **process), "w2": Instance(report(at, int(at)))}

    return at_time


MECHANISMS: dict[str, tuple[dict[str, Callable[[float], Any]], str]] = {
    "takes nothing": ({}, "group stable, w1 heartbeats and takes nothing (calls itself healthy)"),
    "does not complete": ({"instances": instances(in_flight=3)}, "completes none of 3 in flight"),
    "waits for the guard": ({"instances": instances(in_flight=3, in_call=2)}, "waits for the guard with 3 in flight"),
    "knows that it is stuck": ({"instances": instances(stuck="the loop")}, "takes nothing (says: the loop)"),
    "does not commit": (
        {"instances": instances(completed=lambda at: int(at))},
        "w1 heartbeats and completes records, but does not commit this partition",
    ),
    "says nothing": ({"instances": instances(at=1.0)}, "owned by w1, whose process runs and says nothing"),
    "is frozen": ({"instances": instances(is_frozen=True)}, "owned by w1, which is frozen and not been expelled"),
    "was killed": ({"instances": instances(exit_code=-9)}, "owned by w1, which has ended and not been expelled"),
    "nobody": ({"owners": lambda _: {1: "w2"}}, "the group is stable and nobody owns it"),
    "a stranger": ({"owners": lambda _: {0: "x", 1: "w2"}}, "owned by x, which is none of ours"),
    "rebalances for ever": (
        {"state": lambda _: "PreparingRebalance"},
        "the group has been in PreparingRebalance and not become stable",
    ),
}


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_frozen_committed_offset_names_its_mechanism(name: str) -> None:
    change, mechanism = MECHANISMS[name]
    found = first(**change)
    assert found.startswith("frozen committed offset with lag: partition 0 at 5 of 10 for 20 s; ")
    assert mechanism in found


def test_an_instance_that_holds_partitions_without_progress_is_found_in_a_healthy_fleet() -> None:
    found = violations(watch(), BOUND_S)
    assert found[-1].startswith("instance holds partitions without progress: w1 has [0] with lag and takes nothing")
    assert not [line for line in found if "w2" in line]


def test_an_instance_that_ends_by_itself_is_found() -> None:
    assert first(instances=instances(exit_code=3)) == "instance w1 ended by itself with 3"


@pytest.mark.parametrize(
    "change",
    [
        {"ends": lambda _: {0: 5, 1: 40}},
        {
            "committed": lambda at: {0: 5 + int(at) // 8, 1: int(at)},
            "instances": instances(completed=lambda at: int(at)),
        },
        {"ends": lambda at: {0: 5 + (at > 15), 1: 40}},
    ],
    ids=["no lag", "slow but moving", "lag since a moment"],
)
def test_what_gets_on_or_has_nothing_to_do_is_left_alone(change: dict[str, Callable[[float], Any]]) -> None:
    assert violations(watch(**change), BOUND_S) == []


def test_a_committed_offset_that_goes_back_is_found() -> None:
    assert steps_back(watch()) == []
    back = steps_back(watch(committed=lambda at: {0: 5 if at < 10 else 4, 1: int(at)}))
    assert back[0] == "committed offset of partition 0 went back: 5 to 4"
