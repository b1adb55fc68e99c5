"""The metrics that every process takes of itself."""

from os import sysconf
from pathlib import Path

from workers.telemetry.metrics.instruments import observe_value
from workers.telemetry.metrics.table import MEMORY

_STATM = Path("/proc/self/statm")


def observe_process() -> None:
    """Measure this process's memory, where the system tells it."""
    observe_value(MEMORY, resident_bytes)


def resident_bytes() -> float | None:
    """Resident memory of this process; None where the system does not tell."""
    try:
        pages = _STATM.read_text(encoding="ascii").split()[1]
    except OSError:  # not Linux
        return None
    return int(pages) * sysconf("SC_PAGE_SIZE")
