"""No secret of a run reaches a cluster that it joins: not the files of its session, its state or its environments."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, free_port
from tests.workers.serving.ray_state import files_with
from workers.demo.broker import EmbeddedBroker

SECRET = "canary-secret-77"
ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
START_S = 240.0
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a cluster that somebody else has started, and its folder."""
    folder = Path(tempfile.mkdtemp(prefix="wray-", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef0123456789abcdef")
    port = free_port(set())
    head = ServerProcess("the head", folder / "head.log")
    head.spawn(
        [
            str(BIN / "ray"), "start", "--head", f"--port={port}", "--num-cpus=4",
            "--include-dashboard=true", "--dashboard-port=0", "--disable-usage-stats", "--block",
        ],
    )  # fmt: skip
    try:
        log = folder / "head.log"
        head.wait_ready(lambda: "Ray runtime started." in log.read_text(encoding="utf-8", errors="replace"), START_S)
        yield f"127.0.0.1:{port}", folder
    finally:
        head.end(signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("autoscaling", ["false", "true"])
def test_p10_no_secret_of_a_run_is_in_the_state_of_a_cluster(
    cluster: tuple[str, Path], tmp_path: Path, autoscaling: str
) -> None:
    address, folder = cluster
    log = tmp_path / "log"
    with EmbeddedBroker(("chat.events", "moderation.verdicts", "moderation.dlq")) as broker:
        run = ServerProcess("weir run", log)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("WEIR_", "OTEL_"))}
        run.spawn(
            [str(BIN / "weir"), "run"],
            cwd=tmp_path,
            **clean,
            RAY_ADDRESS=address,
            WEIR_KAFKA__BOOTSTRAP_SERVERS=broker.bootstrap_servers,
            WEIR_KAFKA__API_VERSION=broker.api_version,
            WEIR_KAFKA__SASL_PASSWORD=SECRET,
            WEIR_KAFKA__SSL_PASSWORD=SECRET,
            WEIR_GUARD__MODEL="demo",
            WEIR_GUARD__COMPILE="false",
            WEIR_AUTOSCALING__ENABLED=autoscaling,
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization={SECRET}",
            OTEL_RESOURCE_ATTRIBUTES="team=moderation",
        )
        try:
            run.wait_ready(lambda: '"running"' in log.read_text(encoding="utf-8", errors="replace"), START_S)
            looked = [sys.executable, "-m", "tests.workers.serving.ray_state", address, SECRET, "Guard"]
            found = subprocess.run(looked, cwd=ROOT, capture_output=True, text=True, check=False, timeout=START_S)
            assert found.returncode == 0, found.stderr
            kept = json.loads(found.stdout.splitlines()[-1])
            assert kept[SECRET] == []
            assert kept["Guard"], "the state that Serve keeps was read"
            run.signal(signal.SIGTERM)
            run.wait_done(START_S)
        finally:
            run.wait_gone()

    assert files_with(SECRET, folder) == []
    said = log.read_text(encoding="utf-8")
    assert SECRET not in said
    assert '"credentials_not_sent"' in said
    assert "OTEL_EXPORTER_OTLP_HEADERS" in said
