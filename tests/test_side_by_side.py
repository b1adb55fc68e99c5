"""Which process runs which files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.side_by_side import pytest_xdist_make_scheduler

FILES = [f"tests/test_{name}.py" for name in "abcdef"]
TESTS = [f"{file}::test_{number}" for file in FILES for number in range(3)]


class Process:
    """Stands for xdist's side of a process."""

    gateway = SimpleNamespace(id="gw")

    def __init__(self) -> None:
        self.given: list[int] = []
        self.is_stopped = False

    def send_runtest_some(self, numbers: list[int]) -> None:
        self.given += numbers

    def shutdown(self) -> None:
        self.is_stopped = True

    @property
    def shutting_down(self) -> bool:
        return self.is_stopped

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(TESTS[number].partition("::")[0] for number in self.given))


def test_two_processes_take_whole_files_from_both_ends_until_they_meet() -> None:
    config: Any = SimpleNamespace(option=SimpleNamespace(dist="loadfile"), getvalue=lambda _: ["2*popen"])
    scheduler: Any = pytest_xdist_make_scheduler(config, None)
    first, second = Process(), Process()
    for process in (first, second):
        scheduler.add_node(process)
    for process in (first, second):
        scheduler.add_node_collection(process, TESTS)
    scheduler.schedule()
    for number in first.given:  # grows; the second takes its time
        scheduler.mark_test_complete(first, number)

    assert first.files == FILES[:-1]
    assert second.files == FILES[-1:]


def test_another_distribution_is_xdists() -> None:
    assert pytest_xdist_make_scheduler(SimpleNamespace(option=SimpleNamespace(dist="load")), None) is None  # type: ignore[arg-type]
