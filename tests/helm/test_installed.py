"""The packaged chart and the wheel of its image, where neither has the repository: every command of its pods runs.

Commands in an empty folder, and in one with packages of the user's own that are named like ours.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.go_tools import tool
from tests.helm.installed_chart import Installed, rendered
from tests.helm.ray_cluster import Cluster, until
from tests.helm.rendering import (
    API_VERSIONS,
    CHART,
    FEATURES,
    KUBERNETES,
    VERSIONS,
    Object,
    kind,
    manifest,
    name_of,
    parsed,
    pods,
)
from tests.helm.test_refusals import laid_over
from tests.installed_wheel import install_wheel, put_packages_named_like_ours
from tests.kafka.cluster import KafkaCluster
from tests.server_process import ServerProcess
from workers.demo.sample import sample_records
from workers.kafka.producer import producer
from workers.settings.loading import load_settings
from workers.tools.verify.verify import verify

MINUTES = 60.0
DEMO: dict[str, Any] = yaml.safe_load((CHART / "ci" / "cpu-demo-values.yaml").read_text(encoding="utf-8"))
SMALL = {
    "guard": {"cpusPerReplica": 0.5},
    "stream": {"cpusPerConsumer": 0.5},
    "settings": {"guard": {"compile": False}},
}
pytestmark = pytest.mark.timeout(10 * MINUTES)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wheel's commands."""
    return install_wheel(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module", params=VERSIONS)
def packaged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A version of Helm, and the chart as it packages it."""
    folder = tmp_path_factory.mktemp("packaged")
    helm(request.param, folder, "package", str(CHART), "--destination", str(folder))
    (package,) = folder.glob("weir-*.tgz")
    return request.param, package


@pytest.fixture(params=[pytest.param("empty", marks=pytest.mark.slow), "with packages named like ours"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where everything is called."""
    if request.param != "empty":
        put_packages_named_like_ours(tmp_path)
    return tmp_path


def helm(version: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(tool(version)), *arguments], cwd=folder, capture_output=True, text=True, timeout=MINUTES, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def render(version: str, folder: Path, package: Path, values: dict[str, Any]) -> list[Object]:
    (folder / "values.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    apis = [f"--api-versions={api}" for api in API_VERSIONS]
    chosen = ["weir", str(package), "--values=values.yaml", "--kube-version", KUBERNETES]
    return parsed(helm(version, folder, "template", *chosen, *apis))


def test_the_packaged_chart_lints_and_renders_as_in_the_repository(packaged: tuple[str, Path], tmp_path: Path) -> None:
    version, package = packaged
    for values in FEATURES:
        made = render(version, tmp_path, package, yaml.safe_load(values.read_text(encoding="utf-8")))
        assert made == parsed(manifest(version, values)), name_of(values)
    # Lint knows no operators' kinds: plain pods need none.
    plain = str(CHART / "ci" / "deployment-values.yaml")
    helm(version, tmp_path, "lint", "--strict", str(package), f"--values={plain}", "--kube-version", KUBERNETES)


class Pod:
    """One pod of the rendered chart, its container's command run in a folder with its variables and settings."""

    def __init__(self, found: list[Object], kind_: str, name: str, commands: Path, folder: Path) -> None:
        (spec,) = [body["spec"] for title, body in pods(found) if title.startswith(kind_) and name in title]
        container = spec["containers"][0]
        (settings,) = [volume["configMap"]["name"] for volume in spec["volumes"] if volume["name"] == "settings"]
        (config,) = [item for item in kind(found, "ConfigMap") if item["metadata"]["name"] == settings]
        self.settings = folder / f"{settings}.yaml"
        self.settings.write_text(config["data"]["weir.yaml"], encoding="utf-8")
        given = {item["name"]: item["value"] for item in container["env"] if "value" in item}
        assert given["WEIR_CONFIG"] == "/etc/weir/weir.yaml"
        # Not the pod's own folders.
        own = {"WEIR_CONFIG": str(self.settings), "HOME": str(folder), "HF_HOME": str(folder / "models")}
        self.environment = {**given, **own, "PATH": f"{commands}:{os.environ['PATH']}"}
        self.command = [str(commands / container["command"][0]), *container["command"][1:]]
        self.folder = folder

    def run(self) -> str:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("WEIR_", "RAY_", "OTEL_"))
        }
        done = subprocess.run(
            self.command, cwd=self.folder, env={**environment, **self.environment}, capture_output=True, text=True,
            timeout=5 * MINUTES, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.command}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.integration
def test_every_command_of_plain_pods_and_jobs_runs(
    kafka: KafkaCluster, commands: Path, packaged: tuple[str, Path], folder: Path
) -> None:
    version, package = packaged
    if version != VERSIONS[-1]:
        pytest.skip("both render the same")
    name = f"installed-{folder.name}".replace("_", "-")
    values = {
        "mode": "deployment",
        "kafka": {"bootstrapServers": kafka.bootstrap, "groupId": name},
        "topics": {
            "events": [f"{name}.events"],
            "verdicts": f"{name}.verdicts",
            "deadLetters": f"{name}.dlq",
            "apply": {"enabled": True, "partitions": 2, "replication": 1},
        },
        "audit": {"enabled": True, "args": ["log.jsonl", "--into", "run"]},
        "check": {"loadModel": True},
    }
    found = render(version, folder, package, laid_over(laid_over(DEMO, SMALL), values))
    (folder / "log.jsonl").write_text(json.dumps({"event_id": "e1", "text": "good morning"}) + "\n", encoding="utf-8")

    assert "changed:" in Pod(found, "Job", "-topics", commands, folder).run()
    assert "fail" not in Pod(found, "Job", "-check", commands, folder).run()
    Pod(found, "Job", "-audit-1-", commands, folder).run()
    assert json.loads((folder / "run" / "manifest.json").read_text(encoding="utf-8"))["state"] == "finished"
    moderates(Pod(found, "Deployment", "weir", commands, folder))


def moderates(pod: Pod) -> None:
    log = pod.folder / "log"
    server = ServerProcess("weir run", log)
    server.spawn(pod.command, cwd=pod.folder, **pod.environment)
    try:
        server.wait_ready(lambda: '"running"' in log.read_text(encoding="utf-8", errors="replace"), 5 * MINUTES)
        settings = load_settings(pod.settings)
        sender = producer(settings.kafka)
        for record in sample_records(20, seed=3):
            sender.send(settings.topics.events[0], record.value, record.key, record.headers)
        sender.flush()
        sender.close()
        until(lambda: verify(settings).is_proven, "every record to have its outcome", 240)
        server.signal(signal.SIGTERM)
        server.wait_done(MINUTES)
    finally:
        server.wait_gone()


@pytest.fixture
def cluster(commands: Path) -> Iterator[Cluster]:
    """Ray's pods. Each works in an empty folder, whatever its image has: test_objects.py."""
    started = Cluster(rendered(DEMO), commands)
    try:
        started.start()
        yield started
    finally:
        started.close()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.integration
def test_rays_pods_run_the_wheels_application(kafka: KafkaCluster, topics: Any, cluster: Cluster) -> None:
    installed = Installed(kafka, topics, cluster, laid_over(DEMO, SMALL))

    installed.deploy()
    installed.moderate(seed=1)

    assert '"event": "model_loaded"' in cluster.log("guard")
