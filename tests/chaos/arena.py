"""One scenario's own topics, group, load, workers and view of them, and the checks that end every phase.

Draws nothing and injects nothing by itself.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from schemas.record import SourceRecord
from tests.chaos.fleet import Fleet, Worker
from tests.chaos.group_view import GroupView
from tests.chaos.load import Load, Mix, draw_events
from tests.chaos.oracle import Account, account, read_letter, read_verdict
from tests.chaos.probe import steps_back, violations
from tests.chaos.site import SHARED, Site
from tests.chaos.timeline import Timeline
from tests.chaos.waiting import STEP_S, wait_until
from workers.settings.loading import Settings, load_settings
from workers.tools.verify.ledger import Ledger
from workers.tools.verify.verify import verify

PARTITIONS = 4
SESSION_S = 6.0
# Of a partition or instance that has work and nothing in its way. Two busy cores and a rebalance are inside it.
STANDSTILL_S = 25.0
QUIET_S = 90.0
AT_LEAST_ONCE, EXACTLY_ONCE = "at_least_once", "exactly_once"
Sections = dict[str, dict[str, Any]]


class Arena:
    """Topics of four partitions on three servers.

    Args:
        site: cluster and network.
        folder: files of the workers.
        seed: of everything that is drawn.
        mode: `at_least_once` or `exactly_once`, of all workers; in the second one, readers of committed records must
            see nothing twice, whatever happens.
        missing: roles of topics that are not created, of `events`, `verdicts` and `dlq`.
        config: settings of all topics; or by role, as `verdicts={"max.message.bytes": "1000"}`.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        seed: int,
        *,
        mode: str = AT_LEAST_ONCE,
        missing: tuple[str, ...] = (),
        **config: Mapping[str, str],
    ) -> None:
        self.site = site
        self.seed = seed
        self.mode = mode
        self.random = Random(seed)
        suffix = uuid.uuid4().hex[:8]
        self.topics = {role: f"chaos-{role}-{suffix}" for role in ("events", "verdicts", "dlq")}
        self.group = f"chaos-{suffix}"
        self.view = GroupView(site.bootstrap(), self.group, self.topics["events"])
        for role in self.topics.keys() - set(missing):
            self.create(role, **config.get(role, {}))
        self.load = Load(site.bootstrap(), self.topics["events"])
        self.fleet = Fleet(folder)
        self.timeline = Timeline(self.view, self.fleet, lambda: self.load.ends)
        self.timeline.start()
        self._produced = 0

    # -- doing -----------------------------------------------------------------------------------------------------

    def create(self, role: str, **config: str) -> None:
        """Create one of the topics."""
        self.view.create(self.topics[role], PARTITIONS, 3, {"min.insync.replicas": "2", **config})

    def sections(self, way: str = SHARED, **more: Mapping[str, Any]) -> Sections:
        """Settings of a worker, as in `weir.yaml`; `more` is added to those that every scenario needs."""
        made: Sections = {
            "kafka": {
                "bootstrap_servers": self.site.bootstrap(way),
                "group_id": self.group,
                "session_timeout_ms": int(SESSION_S * 1000),
                "heartbeat_interval_ms": 1000,
                "max_poll_records": 64,
            },
            "topics": {
                "events": self.topics["events"],
                "verdicts": self.topics["verdicts"],
                "dead_letters": self.topics["dlq"],
            },
            "delivery": {
                "mode": self.mode,
                "chunk_size": 8,
                "commit_interval_s": 0.3,
                "backoff_initial_s": 0.05,
                "backoff_max_s": 0.5,
                "drain_timeout_s": 10,
            },
            "limits": {"in_flight_records": 256},
        }
        for section, values in more.items():
            made.setdefault(section, {}).update(values)
        return made

    @property
    def settings(self) -> Settings:
        """Settings past all proxies, for those who observe."""
        return load_settings(**self.sections("PLAINTEXT"))

    def start(self, way: str = SHARED, **more: Mapping[str, Any]) -> Worker:
        """Start one more worker."""
        return self.fleet.start(self.sections(way, **more))

    def start_members(self, count: int, **more: Mapping[str, Any]) -> list[Worker]:
        """Start workers and wait until each owns partitions."""
        started = [self.start(**more) for _ in range(count)]
        names = {worker.name for worker in started}
        wait_until(lambda: names <= set(self.view.members()[1].values()), "each worker to own partitions")
        return started

    def wait_owned_by(self, *workers: Worker) -> float:
        """Wait until these own all partitions, each at least one; returns how many seconds it took."""
        names = {worker.name for worker in workers}

        def is_so() -> bool:
            owners = self.view.members()[1]
            return set(owners.values()) == names and len(owners) == len(self.view.partitions(self.topics["events"]))

        return wait_until(is_so, f"{sorted(names)} to own all partitions")

    def produce(self, count: int, mix: Mix | None = None) -> None:
        """Write that many more events."""
        self.load.produce(draw_events(self.random, count, mix or Mix(), self._produced))
        self._produced += count

    def wait_completed(self, count: int) -> None:
        """Wait until the workers have completed that many records in all."""
        wait_until(lambda: self.fleet.completed >= count, f"{count} records to be completed")

    @property
    def is_once(self) -> bool:
        """True where nothing may be seen twice."""
        return self.mode == EXACTLY_ONCE

    # -- checking --------------------------------------------------------------------------------------------------

    def all_committed(self) -> bool:
        """True once the group has committed all that was produced."""
        committed = self.view.committed()
        return all(committed.get(partition, 0) >= end for partition, end in self.load.ends.items())

    def settle(self, within_s: float = QUIET_S, standstill_s: float = STANDSTILL_S) -> float:
        """The quiet phase: nothing is injected, and every instance and partition has to get on until all is committed.

        Returns how many seconds that took. Fails with the mechanism that stands still.
        """
        started = time.monotonic()
        while not self.all_committed():
            self.check_progress(started, standstill_s)
            assert time.monotonic() - started < within_s, f"not all committed after {within_s:.0f} s of quiet"
            time.sleep(STEP_S * 4)
        return time.monotonic() - started

    def check_progress(self, since: float, standstill_s: float = STANDSTILL_S) -> None:
        """Nothing has stood still since then for longer than that."""
        found = violations(self.timeline.since(since), standstill_s)
        assert not found, "; ".join(found)

    def check_not_ahead(self) -> Ledger:
        """While anything goes on: no committed offset is past a record without an outcome (P2)."""
        ledger = verify(self.settings, allow_tail=True, once=self.is_once)
        assert ledger.is_proven, ledger.findings
        return ledger

    def verdicts(self) -> list[SourceRecord]:
        """All records of the verdict topic; in exactly-once mode those that are committed."""
        return list(self.view.read(self.topics["verdicts"], committed=self.is_once))

    def outcomes(self, *, allow_missing: bool = False) -> Account:
        """All outcomes there are, beside all that was produced."""
        found = [read_verdict(record) for record in self.verdicts()]
        found += [read_letter(record) for record in self.view.read(self.topics["dlq"], committed=self.is_once)]
        return account(self.load.sent, found, allow_missing=allow_missing)

    def check_closed(self, *, duplicates: bool, moved_back: bool = False) -> Account:
        """After quiet: nothing lost, nothing wrong, nothing out of order, and copies only where they are allowed.

        Args:
            duplicates: copies are allowed, equal ones; never in exactly-once mode.
            moved_back: somebody else has moved committed offsets back.
        """
        found = self.outcomes()
        assert not found.faults, f"{len(found.faults)} faults: {found.faults[:5]}"
        once = self.is_once and not moved_back
        if once or not duplicates:
            assert found.duplicates == 0, f"{found.duplicates} outcomes were published again"
        ledger = verify(self.settings, once=once)
        assert ledger.is_proven, ledger.findings
        counts = (ledger.inputs, ledger.verdicts, ledger.dead_letters, ledger.skipped, ledger.duplicates)
        assert counts == (found.inputs, found.verdicts, found.letters, found.skipped, found.duplicates), (
            "two ledgers, two answers"
        )
        if not moved_back:
            assert not (back := steps_back(self.timeline.samples)), back
        return found

    # -- ending ----------------------------------------------------------------------------------------------------

    def stop_all(self) -> list[int]:
        """SIGTERM to all at once; their exit codes."""
        running = self.fleet.running
        for worker in running:
            worker.ask_to_stop()
        return [worker.wait() for worker in running]

    def close(self) -> None:
        """End the workers, mend the site, remove the topics."""
        self.timeline.stop()
        self.fleet.close()
        self.site.heal()
        self.view.delete(*self.topics.values())
        self.view.close()

    def tell(self) -> str:
        """What to know of a scenario that failed."""
        samples = self.timeline.samples[-3:]
        return "\n".join([f"seed {self.seed}, {self.mode}", self.fleet.tell(), *(f"{sample}" for sample in samples)])
