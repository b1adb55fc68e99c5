"""The workers of one scenario: processes that are started, killed, frozen, stopped, and watched from outside.

Knows nothing of what the workers do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.ruled_guard import DOWN, STALLED
from tests.chaos.waiting import wait_until
from tests.server_process import dying_with_us

ROOT = Path(__file__).parents[2]
STOP_S = 60.0
TAIL_BYTES = 4096


class Report(NamedTuple):
    """A worker's last words about itself; see `worker_process.report`."""

    at: float
    completed: int
    in_flight: int
    in_call: int
    is_full: bool
    stuck: str | None
    failure: str | None
    resident_kb: int


SILENT = Report(-1.0, 0, 0, 0, False, None, None, 0)


class Worker:
    """One process. `name` is also its client id, by which the group knows it."""

    def __init__(self, folder: Path, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.is_frozen = False
        self.was_killed = False
        self._folder = folder
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("WEIR_", "OTEL_"))}
        command = [sys.executable, "-m", "tests.chaos.worker_process", str(folder), name]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                dying_with_us(command), cwd=ROOT, env={**clean, **environment}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> Path:
        """What it prints."""
        return self._folder / f"{self.name}.log"

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """True while the process exists, frozen or not."""
        return self.exit_code is None

    @property
    def report(self) -> Report:
        """Its last report; `SILENT` before the first."""
        path = self._folder / f"{self.name}.progress"
        if not path.exists():
            return SILENT
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().split(b"\n")
        # The last piece is a line that is being written, or empty.
        return Report(**json.loads(lines[-2])) if len(lines) > 1 and lines[-2] else SILENT

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.was_killed = True
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.is_frozen = True
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self._process.pid, signal.SIGCONT)
        self.is_frozen = False

    def ask_to_stop(self) -> None:
        """SIGTERM; does not wait."""
        self._process.terminate()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.ask_to_stop()
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; returns the exit code."""
        return self._process.wait(STOP_S)


class Fleet:
    """All workers that a scenario has started, gone ones included.

    Args:
        folder: settings, logs and progress of its workers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.workers: list[Worker] = []

    @property
    def running(self) -> list[Worker]:
        """Those whose process exists."""
        return [worker for worker in self.workers if worker.is_running]

    @property
    def completed(self) -> int:
        """Records completed by all together."""
        return sum(worker.report.completed for worker in self.workers)

    def start(self, sections: Mapping[str, Mapping[str, Any]], **environment: str) -> Worker:
        """Start one more worker; returns when its process reports."""
        name = f"w{len(self.workers) + 1}"
        own = {**sections, "kafka": {**sections["kafka"], "client_id": name}}
        (self._folder / f"{name}.json").write_text(json.dumps(own))
        worker = Worker(self._folder, name, environment)
        self.workers.append(worker)
        wait_until(lambda: worker.report is not SILENT or not worker.is_running, f"{name} to report")
        assert worker.is_running, f"{name} ended at once: {worker.log.read_text()[-2000:]}"
        return worker

    def set_guard_down(self, is_down: bool) -> None:
        """Make no replica answer any worker's calls, until called with False."""
        self._set(DOWN, is_down)

    def set_guard_stalled(self, is_stalled: bool) -> None:
        """Make all guard calls wait, until called with False."""
        self._set(STALLED, is_stalled)

    def close(self) -> None:
        """End all at once."""
        for worker in self.running:
            worker.kill()

    def tell(self) -> str:
        """How each of them stands, and the end of its log."""
        lines = []
        for worker in self.workers:
            age = time.monotonic() - worker.report.at
            tail = worker.log.read_text(errors="replace").splitlines()[-12:]
            lines += [f"{worker.name}: exit code {worker.exit_code}, {age:.1f} s ago {worker.report}", *tail]
        return "\n".join(lines)

    def _set(self, name: str, is_there: bool) -> None:
        path = self._folder / name
        path.touch() if is_there else path.unlink(missing_ok=True)
