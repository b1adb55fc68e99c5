"""A control group that bounds the memory of processes of a test, as a pod's limit does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

_ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """The group in `folder`, of the kernel's second hierarchy or of its first."""

    def __init__(self, folder: Path, *, is_second: bool) -> None:
        self.folder = folder
        self._limit, self._peak = (
            ("memory.max", "memory.peak") if is_second else ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
        )
        self._events = "memory.events" if is_second else "memory.oom_control"

    def bound(self, limit: int) -> None:
        """Have processes killed where all of them together would take more bytes."""
        (self.folder / self._limit).write_text(str(limit))

    def add(self, pid: int) -> None:
        """Take in a process; what it holds already is not counted."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    @property
    def peak(self) -> int:
        """Most bytes so far."""
        return int((self.folder / self._peak).read_text())

    @property
    def kills(self) -> int:
        """Processes that were killed."""
        lines = dict(line.split() for line in (self.folder / self._events).read_text().splitlines())
        return int(lines["oom_kill"])


@contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """A group of at most so many bytes; skips the test where none can be made."""
    own, is_second = _own_group()
    folder = own / f"weir-{uuid4().hex[:8]}"
    try:
        folder.mkdir()
        group = MemoryGroup(folder, is_second=is_second)
        group.bound(limit)
    except OSError as error:
        if folder.exists():
            folder.rmdir()
        pytest.skip(f"no control group can be made: {type(error).__name__}")
    try:
        yield group
    finally:
        folder.rmdir()


def _own_group() -> tuple[Path, bool]:
    """This process's own group for memory, and whether it is one of the second hierarchy."""
    for line in Path(f"/proc/{os.getpid()}/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if "memory" in kinds.split(","):
            return _ROOT / "memory" / path.lstrip("/"), False
    return _ROOT / path.lstrip("/"), True
