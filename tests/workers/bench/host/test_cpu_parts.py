"""CPU time by part: of threads by their names, of calls by themselves, and all of a process in the end."""

import threading
import time
from collections.abc import Callable

import pytest

from workers.bench.host.cpu_parts import CpuParts

BURNT_S = 0.02


def burn() -> None:
    until = time.thread_time() + BURNT_S
    while time.thread_time() < until:
        pass


class Worker:
    """Burns a little when it is called."""

    def called(self) -> str:
        burn()
        return "answer"


class Thread:
    """Does what it is told, one thing at a time, and lives on, as the threads of a process do."""

    def __init__(self, name: str) -> None:
        self._todo: list[Callable[[], object]] = []
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def do(self, what: Callable[[], object]) -> None:
        self._todo.append(what)
        self._go.release()
        self._done.acquire()

    def end(self) -> None:
        self._go.release()
        self._thread.join()

    @property
    def number(self) -> int:
        assert self._thread.native_id is not None
        return self._thread.native_id

    def _run(self) -> None:
        while self._go.acquire() and self._todo:
            self._todo.pop()()
            self._done.release()


def test_threads_calls_and_the_rest_are_told_apart_and_make_up_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "called", Worker.called)  # is put back
    named, unnamed = Thread("weir-stream"), Thread("another")
    cpu = CpuParts({"weir-stream": "release"}, rest="handle")
    cpu.claim([unnamed.number], "batch")
    cpu.time_calls(Worker, "called", "decode")
    before, started = cpu.used(), time.process_time()

    for _ in range(2):
        named.do(Worker().called)
    named.do(burn)
    for _ in range(3):
        unnamed.do(burn)
    for _ in range(4):
        burn()  # by this thread
    used, seconds = cpu.used().since(before), time.process_time() - started
    named.end()
    unnamed.end()

    for part, times in {"decode": 2, "release": 1, "batch": 3, "handle": 4}.items():
        assert times * BURNT_S <= used.seconds[part] < (times + 0.9) * BURNT_S, part
    assert sum(used.seconds.values()) == pytest.approx(seconds, abs=BURNT_S / 2)
    assert used.resident_mib > 1
    assert Worker().called() == "answer"
