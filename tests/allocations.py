"""Memory that code of some places holds: other threads of a test run allocate, too."""

from __future__ import annotations

import tracemalloc


def held_by(*places: str) -> int:
    """Bytes that were allocated since `tracemalloc.start()` in files of these names or patterns, and not given back."""
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, place) for place in places])
    return sum(trace.size for trace in snapshot.traces)
