"""CPU time of a process by part of a message's way: by thread, and within the worker's thread by what it calls.

No clock is read more than a few times a chunk, so that what is measured is not changed by it.
"""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from workers.telemetry.metrics.process import resident_bytes

PARTS = ("client", "decode", "release", "handle", "prepare", "batch", "parse", "publish")
_TASKS = Path("/proc/self/task")
_MIB = 2**20


class Used(NamedTuple):
    """What a process has used since its start, or between two moments: CPU seconds by part, and MiB of memory now."""

    process: int
    seconds: dict[str, float]
    resident_mib: float

    def since(self, before: "Used") -> "Used":
        """Between two moments."""
        spent = {part: seconds - before.seconds.get(part, 0.0) for part, seconds in self.seconds.items()}
        return self._replace(seconds=spent)


class CpuParts:
    """CPU seconds of this process so far, by part.

    Args:
        threads: part by the start of a Python thread's name.
        rest: part of all threads that no other claims, Ray's own above all.
    """

    def __init__(self, threads: Mapping[str, str], rest: str) -> None:
        self._threads = threads
        self._rest = rest
        self._numbers: dict[int, str] = {}
        self._called: defaultdict[str, float] = defaultdict(float)
        self._within: defaultdict[int, float] = defaultdict(float)

    def claim(self, threads: Iterable[int], part: str) -> None:
        """Count threads without a name of ours, given by number, as a part's."""
        self._numbers.update(dict.fromkeys(threads, part))

    def time_calls(self, owner: type, method: str, part: str) -> None:
        """Count all that a method of a class does from now on as a part of its own, and not as its thread's."""
        plain: Callable[..., Any] = getattr(owner, method)

        @wraps(plain)
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.thread_time()
            try:
                return plain(*arguments, **options)
            finally:
                seconds = time.thread_time() - started
                self._called[part] += seconds
                self._within[threading.get_native_id()] += seconds

        setattr(owner, method, timed)

    def used(self) -> Used:
        """What this process has used by now."""
        return Used(os.getpid(), self.seconds(), (resident_bytes() or 0.0) / _MIB)

    def seconds(self) -> dict[str, float]:
        """By part; together the CPU time of the process, of threads that have ended, too."""
        spent = defaultdict(float, self._called)
        total = time.process_time()
        by_thread = thread_seconds()
        for thread in threading.enumerate():
            part = next((part for start, part in self._threads.items() if thread.name.startswith(start)), None)
            if part is not None and thread.native_id in by_thread:
                spent[part] += by_thread[thread.native_id] - self._within[thread.native_id]
        for number, part in self._numbers.items():
            spent[part] += by_thread.get(number, 0.0)
        spent[self._rest] += total - sum(spent.values())
        return spent


def thread_seconds() -> dict[int, float]:
    """CPU seconds of each thread of this process, by its number."""
    return {int(task.name): _seconds_of(task) for task in list(_TASKS.iterdir())}


def _seconds_of(task: Path) -> float:
    try:
        nanoseconds = int((task / "schedstat").read_text(encoding="ascii").split()[0])
        if nanoseconds:
            return nanoseconds / 1e9
        # Behind the name, which may hold anything: user and system time are the 12th and 13th figure.
        figures = (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(figures[11]) + int(figures[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:  # it has ended meanwhile
        return 0.0
