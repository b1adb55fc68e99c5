"""Looks at group and workers twice a second, from a thread of its own, and keeps what it saw.

Judges nothing: `probe` does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from kafka.errors import KafkaError

from tests.chaos.fleet import Fleet
from tests.chaos.group_view import GroupView
from tests.chaos.probe import Instance, Sample

INTERVAL_S = 0.5


class Timeline:
    """Samples of one scenario, oldest first.

    Args:
        view: the group.
        fleet: the workers.
        ends: tells where the group has to get to in each partition.
    """

    def __init__(self, view: GroupView, fleet: Fleet, ends: Callable[[], dict[int, int]]) -> None:
        self._view = view
        self._fleet = fleet
        self._ends = ends
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="chaos-timeline", daemon=True)
        self.samples: list[Sample] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(60)

    def since(self, at: float) -> list[Sample]:
        """What was seen from a time on."""
        return [sample for sample in list(self.samples) if sample.at >= at]

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_S):
            try:
                ends = self._ends()
                committed = self._view.committed()
                state, owners = self._view.members()
            except (KafkaError, KeyError, TypeError):
                continue  # the cluster is what is broken at the moment
            instances = {
                worker.name: Instance(worker.report, worker.exit_code, worker.is_frozen)
                for worker in list(self._fleet.workers)
            }
            self.samples.append(Sample(time.monotonic(), state, owners, committed, ends, instances))
        self._view.close()
