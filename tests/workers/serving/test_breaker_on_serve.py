"""`weir breaker` on real Ray Serve: every replica is seen, an open one is kept, and a reset reaches all of them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import serve

from tests.ray_session import serve_session
from tests.workers.serving.tripping_replica import TrippingReplica
from workers.demo.broker import EmbeddedBroker
from workers.serving.app import APP_NAME, STREAM
from workers.settings.loading import load_settings

ROOT = Path(__file__).parents[3]
WEIR = str(Path(sys.executable).with_name("weir"))


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A handle to two consumers on a broker of their own; nobody sends them anything."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # replicas import the test's class
    folder = tmp_path_factory.mktemp("ray")
    with EmbeddedBroker(("chat.events",)) as broker:
        settings = load_settings(
            kafka={"bootstrap_servers": broker.bootstrap_servers, "api_version": broker.api_version},
            delivery={"drain_timeout_s": 2},
        )
        deployment = serve.deployment(
            TrippingReplica,
            name=STREAM,
            num_replicas=2,
            health_check_period_s=0.3,
            graceful_shutdown_timeout_s=5,
            ray_actor_options={"num_cpus": 0.5},
        )
        with serve_session(2):
            # Others may run Ray on this machine too; where `ray start` notes its cluster, nobody else looks.
            (folder / "ray").mkdir()
            (folder / "ray" / "ray_current_cluster").write_text(ray.get_runtime_context().gcs_address)
            monkeypatch.setenv("RAY_TMPDIR", str(folder))
            yield serve.run(deployment.bind(settings, None), name=APP_NAME, route_prefix=None)


def weir(*arguments: str) -> tuple[int, str]:
    """Exit code and stdout of a command of its own process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WEIR_", "RAY_ADDRESS"))}
    done = subprocess.run([WEIR, *arguments], env=clean, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def status() -> tuple[int, Any]:
    code, out = weir("breaker", "status", "--json")
    return code, json.loads(out)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_replica_is_seen_an_open_one_stays_and_a_reset_reaches_all(consumers: Any) -> None:
    code, closed = status()
    replicas = [breaker["replica"] for breaker in closed["breakers"]]
    assert (code, closed["open"], closed["silent"], closed["not_running"]) == (0, 0, 0, {})
    assert len(set(replicas)) == 2
    assert {breaker["state"] for breaker in closed["breakers"]} == {"closed"}

    consumers.trip.remote().result(timeout_s=10)
    code, seen = status()
    (opened,) = (breaker for breaker in seen["breakers"] if breaker["state"] == "open")
    assert (code, seen["open"]) == (1, 1)
    assert opened["cause"] == "failure_ratio"
    assert "unparsable_output 5000" in opened["reason"]
    assert opened["failures"]["by_reason"] == {"unparsable_output": 5000}
    assert opened["reason"] in " ".join(weir("breaker", "status")[1].replace("│", " ").split())

    # Serve replaces after three failed checks.
    before = dict(consumers.broadcast("health_checks").results(timeout_s=10))

    def looked_at_often() -> bool:
        return dict(consumers.broadcast("health_checks").results(timeout_s=10))[True] > before[True] + 6

    until(looked_at_often, "seven health checks of the open replica")
    assert [breaker["replica"] for breaker in status()[1]["breakers"]] == replicas
    assert serve.status().applications[APP_NAME].deployments[STREAM].status == "HEALTHY"

    code, out = weir("breaker", "reset", "--json")
    assert (code, json.loads(out)["were_open"]) == (0, 1)
    code, after = status()
    assert (code, after["open"]) == (0, 0)
    assert [breaker["failures"]["records"] for breaker in after["breakers"]] == [0, 0]
