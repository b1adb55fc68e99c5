"""How far a run is, even while another process drives it. Reads the run's folder and nothing else."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from workers.audit.manifest import BlockMarker, FileInput
from workers.audit.run_folder import RunFolder, progress_of
from workers.audit.run_lock import driver_of

_RECENT_S = 300.0


class RunStatus:
    """Looks at one run again and again; a marker is read once.

    Args:
        run: the run's folder.

    Raises:
        ConfigurationError: there is no run.
        ModerationError: a file cannot be read.
    """

    def __init__(self, run: str) -> None:
        self._folder = RunFolder(run)
        self._markers: dict[int, BlockMarker] = {}

    def look(self) -> dict[str, Any]:
        """The run as it is now, as `weir audit status --json` shows it."""
        folder = self._folder
        driver = driver_of(folder.uri)  # before the manifest, so that nobody's finished run looks like one left alone
        manifest = folder.manifest()
        counts, cost = progress_of(folder, self._markers)
        rows = sum(item.rows if isinstance(item, FileInput) else item.end - item.start for item in manifest.inputs)
        attempt = datetime.fromisoformat(manifest.attempts[-1])
        rate, last = _rate(self._markers.values(), attempt, datetime.now(UTC))
        return {
            "run": folder.uri,
            "run_id": manifest.run_id,
            "state": manifest.state,
            "driver": None if driver is None else driver._asdict(),
            "rows_in_all": rows,
            "blocks": {"done": len(self._markers), "of": manifest.blocks},
            "rows_per_second": rate,
            "seconds_left": None if manifest.state == "finished" or not rate else round((rows - counts.rows) / rate, 1),
            "seconds_since_last_block": last,
            "attempts": list(manifest.attempts),
            "counts": counts.model_dump(),
            "cost": cost.model_dump(),
        }


def _rate(markers: Iterable[BlockMarker], began: datetime, now: datetime) -> tuple[float | None, float | None]:
    """Rows a second of the last minutes of this attempt, and how long ago its last block was done."""
    ends = [(datetime.fromisoformat(marker.finished_at), marker.counts.rows) for marker in markers]
    if not ends:
        return None, None
    last = max(end for end, _ in ends)
    since = max(began, datetime.fromtimestamp(last.timestamp() - _RECENT_S, UTC))
    rows, seconds = sum(rows for end, rows in ends if end > since), (last - since).total_seconds()
    return round(rows / seconds, 1) if seconds > 0 else None, round((now - last).total_seconds(), 1)
