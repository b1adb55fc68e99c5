"""The way of an ordinary record: the files of ours that each such record enters between its poll and its commit.

`python -m tests.record_way` takes records one after another through a real worker on the embedded broker, with a guard
that answers Safe at once, and lists the files with their lines; `-v` adds the functions. Start-up is not counted, nor
what is done by the clock.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

from pipelines.guard_parser import parse_verdict
from tests.guards.scripted_guard import ScriptedGuard
from tests.site import Broker, Site, event, wait_until
from workers.demo.broker import EmbeddedBroker
from workers.kafka.producer import producer
from workers.stream.worker import StreamWorker

ROOT = Path(__file__).parents[1]
OURS = tuple(str(ROOT / package) for package in ("schemas", "pipelines", "workers"))
RECORDS = 3


class Footprints:
    """Code that is entered while it is asked to look, on every thread that began after it was set up."""

    def __init__(self) -> None:
        self._looks_at: set[CodeType] | None = None

    def __call__(self, frame: FrameType, what: str, _: object) -> None:
        """What `sys.setprofile` calls."""
        if self._looks_at is not None and what == "call":
            self._looks_at.add(frame.f_code)

    @contextmanager
    def looking(self) -> Iterator[set[CodeType]]:
        """Note what is entered meanwhile."""
        self._looks_at = seen = set[CodeType]()
        try:
            yield seen
        finally:
            self._looks_at = None


def committed(worker: StreamWorker) -> int:
    """Records whose offsets the coordinator has stored, as the worker knows."""
    return sum(worker._assignment.committed().values())  # noqa: SLF001


def record_way() -> dict[str, list[str]]:
    """Functions of ours that every ordinary record enters, by file; modules that are only imported do not count."""
    footprints = Footprints()
    ways: list[dict[str, set[str]]] = []
    threading.setprofile(footprints)
    try:
        with EmbeddedBroker() as broker:
            site = Site(Broker(broker.bootstrap_servers, broker.api_version, broker.create_topic))
            try:
                worker = site.start(ScriptedGuard())
                site.produce([event("first")])
                wait_until(lambda: committed(worker) == 1, "the worker to be at home")
                worker._loop._measure_at = float("inf")  # noqa: SLF001 - the backlog is measured by the clock
                sender = producer(site.settings.kafka)
                for number in range(RECORDS):
                    parse_verdict.cache_clear()  # what was read once is not read again
                    with footprints.looking() as seen:
                        sender.send(site.names[0], event(f"ordinary-{number}"), b"key", partition=1)
                        wait_until(lambda so_far=number + 2: committed(worker) == so_far, "a commit")
                    ways.append(_of_ours(seen))
                sender.close()
                assert worker.failure is None
            finally:
                site.close()
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]
    files = set.intersection(*map(set, ways))
    return {file: sorted(set.union(*[way[file] for way in ways])) for file in sorted(files)}


def lines_of(way: dict[str, list[str]]) -> dict[str, int]:
    """Lines of each file of a way."""
    return {file: len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in way}


def _of_ours(seen: set[CodeType]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for code in seen:
        if code.co_filename.startswith(OURS) and code.co_name != "<module>":
            found.setdefault(str(Path(code.co_filename).relative_to(ROOT)), set()).add(code.co_qualname)
    return found


def main() -> None:
    """Print the way."""
    way = record_way()
    lengths = lines_of(way)
    for file, functions in way.items():
        print(f"{lengths[file]:5}  {file}  {' '.join(functions) if '-v' in sys.argv else ''}".rstrip())  # noqa: T201
    print(f"{sum(lengths.values()):5}  lines in {len(way)} files")  # noqa: T201


if __name__ == "__main__":
    main()
