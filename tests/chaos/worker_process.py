"""One stream worker as an operating system process, to be killed, frozen and stopped: `python -m … FOLDER NAME`.

Reads its settings from `NAME.json` in the folder and writes a line of `NAME.progress` every tenth of a second. Only
what the worker shows to everybody is reported. Exits with 0 after a clean stop, 3 where the worker failed, 4 where a
stop took too long.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.chaos.ruled_guard import RuledGuard
from workers.bench.guards import running_loop
from workers.serving.process_tuning import tune_process
from workers.settings.loading import load_settings, otel_variables
from workers.stream.build import stream_worker
from workers.stream.worker import StreamWorker
from workers.telemetry.export import start_tracing
from workers.telemetry.log import configure_logging

REPORT_S = 0.1
STOP_S = 40.0
CLEAN, FAILED, TOO_SLOW = 0, 3, 4
PAGE_KB = resource.getpagesize() // 1024


def report(worker: StreamWorker, guard: RuledGuard) -> dict[str, Any]:
    """What an operator could see of this worker now; times are the machine's monotonic ones, in seconds."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KB
    failure = worker.failure
    return {
        "at": time.monotonic(),
        "completed": worker.progress.completed,
        "in_flight": worker.in_flight,
        "in_call": guard.in_call,
        "is_full": worker.is_full,
        "stuck": worker.stuck_reason(),
        "failure": None if failure is None else type(failure).__name__,
        "resident_kb": resident,
    }


def main(folder: Path, name: str) -> int:
    """Run until SIGTERM or a failure."""
    settings = load_settings(**json.loads((folder / f"{name}.json").read_text()))
    configure_logging("INFO")
    tune_process()
    tracing = start_tracing(settings.telemetry, "weir-stream", otel_variables())
    guard = RuledGuard(folder)
    worker = stream_worker(settings, guard, running_loop(), tracing)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with (folder / f"{name}.progress").open("w", buffering=1) as progress:

        def say() -> None:
            progress.write(json.dumps(report(worker, guard)) + "\n")

        worker.start()
        while not stopping.wait(REPORT_S) and worker.failure is None:
            say()
        worker.request_stop()
        deadline = time.monotonic() + STOP_S
        while not worker.stop(REPORT_S) and time.monotonic() < deadline:
            say()
        say()
        is_over = worker.stop(0)
    if worker.failure is not None:
        return FAILED
    tracing.flush()
    return CLEAN if is_over else TOO_SLOW


if __name__ == "__main__":
    # Without the interpreter's own end: it would wait for threads that a failed stop has left behind.
    code = main(Path(sys.argv[1]), sys.argv[2])
    sys.stderr.flush()
    os._exit(code)
