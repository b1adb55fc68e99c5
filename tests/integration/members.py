"""Members of one group, in this process and in others that can be killed or frozen, and load for them."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Sequence

from pipelines.guard import GuardRequest
from tests.guards.scripted_guard import ScriptedGuard
from tests.site import OFF, Site, event, wait_until
from workers.settings.loading import Settings
from workers.stream.build import stream_worker
from workers.tools.verify.ledger import Ledger
from workers.tools.verify.verify import verify

QUICK = {"session_timeout_ms": 1500, "heartbeat_interval_ms": 200, "max_poll_records": 16}


async def take_a_moment(_: Sequence[GuardRequest]) -> None:
    """Long enough for records to be in flight whenever something happens."""
    await asyncio.sleep(0.02)


class Load:
    """Produces in bursts; says how much."""

    def __init__(self, site: Site) -> None:
        self._bench = site
        self.produced = 0

    def more(self, count: int = 30) -> None:
        self._bench.produce([event(f"e{i}") for i in range(self.produced, self.produced + count)])
        self.produced += count

    def until_done(self, settings: Settings) -> Ledger:
        wait_until(lambda: sum(self._bench.committed().values()) == self.produced, "all to be committed")
        return verify(settings)


def _be_a_member(settings: Settings) -> None:
    """Run as a process of its own until it is killed."""
    loop = asyncio.new_event_loop()
    stream_worker(settings, ScriptedGuard(script=take_a_moment), loop, OFF).start()
    loop.run_forever()


class Member:
    """A member in a process of its own, to be killed or frozen."""

    def __init__(self, settings: Settings) -> None:
        self.process = multiprocessing.get_context("spawn").Process(target=_be_a_member, args=(settings,), daemon=True)
        self.process.start()

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def close(self) -> None:
        self.process.kill()
        self.process.join()
