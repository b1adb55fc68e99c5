"""The Kafka door on real Kafka and real Ray, with the demo's Stream model: a replica is killed with sessions open."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ray import serve

from tests.ray_session import serve_session
from tests.site import Broker, wait_until
from tests.workers.deltas.delta_site import DeltaSite, frame
from workers.guard.turn_client import TurnClient
from workers.serving.app import stream_guard_of
from workers.settings.loading import load_settings

TEXT = "the lamp is here and you can bring me the skarnade now, said the man at the river who has no name at all"
STEP = 8


@pytest.fixture
def site(kafka_broker: Broker) -> Iterator[DeltaSite]:
    made = DeltaSite(kafka_broker)
    yield made
    made.close()


def replicas() -> set[int]:
    """Processes of this session's stream guard replicas."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"ServeReplica:stream-guard-test:StreamGuard" in path.read_bytes():
                found.add(int(path.parent.name))
    return found


@pytest.mark.ray
@pytest.mark.timeout(240)
@pytest.mark.parametrize("turns", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_p1_p7_after_kill_9_of_a_replica_with_sessions_open_every_verdict_is_there_and_equal(
    site: DeltaSite, turns: int
) -> None:
    pieces = [TEXT[start : start + STEP] for start in range(0, len(TEXT), STEP)]

    def written(first: int, last: int) -> list[dict[str, Any]]:
        return [
            frame(f"c{number}", seq, pieces[seq], final=seq == len(pieces) - 1)
            for seq in range(first, last)
            for number in range(turns)
        ]

    settings = load_settings(stream_guard={"model": "demo", "dtype": "float32", "cpus_per_replica": 0.5, "replicas": 2})
    with serve_session(2):
        began = time.monotonic()
        handle = serve.run(stream_guard_of(settings), name="stream-guard-test", route_prefix=None)
        start_s = time.monotonic() - began
        worker = site.start_deltas(TurnClient(handle, 60))
        site.write(written(0, 5))
        wait_until(lambda: worker.progress.completed >= turns * 4, "the first deltas to be judged")
        [victim, *_] = sorted(replicas())
        site.write(written(5, 9))
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        site.write(written(9, len(pieces)))
        site.wait_for_ends(turns)
        sys.stdout.write(
            f"{turns} turns ended {time.monotonic() - killed:.1f} s after SIGKILL; a start takes {start_s:.1f} s\n"
        )
        assert worker.stop(20.0)

    said = site.said()
    texts = {tuple(sorted((k, str(v)) for k, v in one.items() if k not in _OWN)) for one in said}
    assert len(said) == 2 * turns, "a raise and an end of each"
    assert len(texts) == 2, "equal, whatever replica judged them and when"
    assert {one["final"]: one["raised"] for one in said} == {False: True, True: True}
    assert set(site.ends().values()) == {"final"}
    assert site.dead_letters() == []


_OWN = {"conversation_id", "verdict_id"}
