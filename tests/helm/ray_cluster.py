"""A Ray cluster of three nodes on this machine, started as KubeRay starts the chart's pods.

A head without CPUs, a node with the resource of each group, token authentication.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.server_process import free_port
from workers.guard.names import APP_NAME

BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef0123456789abcdef"


def until(condition: Callable[[], bool], what: str, timeout_s: float = 240.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what}"
        time.sleep(0.2)


class Cluster:
    """A Ray cluster of three nodes on this machine, as the chart's pods would be.

    Args:
        rendered: the RayService.
        commands: folder of `ray` and `serve`.

    Attributes:
        proxy, agent: ports of its HTTP proxy and of the head's dashboard agent.
    """

    def __init__(self, rendered: dict[str, Any], commands: Path = BIN) -> None:
        self._commands = commands
        taken: set[int] = set()  # other tests have clusters, too, and perhaps now
        self._gcs, self._dashboard, self._client, self.agent, self.proxy = (free_port(taken) for _ in range(5))
        self._spec = rendered["spec"]["rayClusterConfig"]
        self.folder = Path(tempfile.mkdtemp(prefix="wray-", dir="/tmp"))
        self._nodes: list[subprocess.Popen[bytes]] = []
        pod = self._spec["headGroupSpec"]["template"]["spec"]["containers"][0]
        given = {item["name"]: item["value"] for item in pod["env"] if "value" in item}
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("WEIR_", "RAY_", "OTEL_"))}
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_TMPDIR": str(self.folder)}
        self.environment = {
            **clean,
            **given,
            **own,
            "HOME": str(self.folder),
            "PATH": f"{commands}:{os.environ['PATH']}",
        }

    def start(self) -> None:
        head, groups = self._spec["headGroupSpec"], self._spec["workerGroupSpecs"]
        store = ["--object-store-memory=100000000", "--disable-usage-stats", "--block"]
        params = [f"--{key}={value}" for key, value in head["rayStartParams"].items() if key != "dashboard-host"]
        ports = [
            f"--port={self._gcs}",
            f"--dashboard-port={self._dashboard}",
            f"--ray-client-server-port={self._client}",
        ]
        agent = f"--dashboard-agent-listen-port={self.agent}"
        self._node("head", ["--head", "--include-dashboard=true", agent, *ports, *params, *store])
        until(self._head_answers, "the head's dashboard")
        for group in groups:
            resources = json.loads(group["rayStartParams"]["resources"])
            # Two nodes of one machine: each has its agents' ports chosen for it.
            ports = ["--dashboard-agent-listen-port=0", "--dashboard-agent-grpc-port=0", "--metrics-export-port=0"]
            self._node(
                group["groupName"],
                [f"--address=127.0.0.1:{self._gcs}", "--num-cpus=2", f"--resources={resources}", *ports, *store],
            )

    def _node(self, name: str, arguments: list[str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [str(self._commands / "ray"), "start", *arguments]
            self._nodes.append(
                subprocess.Popen(
                    command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
                )
            )
        # One after the other: raylets that start at once on one machine take the same ports, and one dies of it.
        until(lambda: self._has_started(name), f"the node {name}")

    def _has_started(self, name: str) -> bool:
        assert self._nodes[-1].poll() is None, self.log(name)[-3000:]
        return "Ray runtime started." in self.log(name)

    def _head_answers(self) -> bool:
        assert self._nodes[0].poll() is None, self.log("head")[-3000:]
        try:
            return self.get("/api/version") is not None
        except OSError:
            return False

    def get(self, path: str, *, token: bool = True, port: int | None = None) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{port or self._dashboard}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def serve(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{self._dashboard}"}
        command = [str(self._commands / "serve"), *arguments]
        return subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )

    def application(self) -> dict[str, Any]:
        status = json.loads(self.get("/api/serve/applications/"))
        found: dict[str, Any] = status["applications"].get(APP_NAME, {})
        return found

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        for node in reversed(self._nodes):
            node.terminate()
        until_s = time.monotonic() + 5  # for all: a head seldom ends by itself, and its folder is removed
        for node in self._nodes:
            try:
                node.wait(max(0.1, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
