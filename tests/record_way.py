"""The way of one ordinary record: the files of ours that it enters between its poll and its commit.

`python -m tests.record_way` runs one record through a real worker on the embedded broker, with a guard that answers
Safe at once, and lists the files with their lines. Start-up, rebalances and the end of the worker are not counted.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

from tests.guards.scripted_guard import ScriptedGuard
from tests.site import Broker, Site, event, wait_until
from workers.demo.broker import EmbeddedBroker

ROOT = Path(__file__).parents[1]
OURS = tuple(str(ROOT / package) for package in ("schemas", "pipelines", "workers"))


class Footprints:
    """Code that is entered while it is asked to look, on every thread that began after it was set up."""

    def __init__(self) -> None:
        self._is_looking = False
        self._seen: set[CodeType] = set()

    def __call__(self, frame: FrameType, what: str, _: object) -> None:
        """What `sys.setprofile` calls."""
        if self._is_looking and what == "call":
            self._seen.add(frame.f_code)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Note what is entered meanwhile."""
        self._is_looking = True
        try:
            yield
        finally:
            self._is_looking = False

    def functions(self) -> dict[str, list[str]]:
        """Functions of ours that were entered, by file; modules that were only imported do not count."""
        found: dict[str, list[str]] = {}
        for code in self._seen:
            if code.co_filename.startswith(OURS) and code.co_name != "<module>":
                found.setdefault(str(Path(code.co_filename).relative_to(ROOT)), []).append(code.co_qualname)
        return found


def record_way() -> dict[str, list[str]]:
    """Functions that one record enters, by file."""
    footprints = Footprints()
    threading.setprofile(footprints)
    try:
        with EmbeddedBroker() as broker:
            site = Site(Broker(broker.bootstrap_servers, broker.api_version, broker.create_topic))
            try:
                worker = site.start(ScriptedGuard())
                site.produce([event("first")])
                wait_until(lambda: site.committed() != {}, "the worker to be at home")
                with footprints.looking():
                    site.produce([event("ordinary")])
                    site.wait_for(2)
                    wait_until(lambda: sum(site.committed().values()) == 2, "a commit")
                assert worker.failure is None
            finally:
                site.close()
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]
    return footprints.functions()


def main() -> None:
    """Print the way."""
    way = record_way()
    lengths = {file: len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in way}
    for file in sorted(way):
        print(f"{lengths[file]:5}  {file}  {' '.join(sorted(way[file])) if '-v' in sys.argv else ''}")  # noqa: T201
    print(f"{sum(lengths.values()):5}  lines in {len(way)} files")  # noqa: T201


if __name__ == "__main__":
    main()
