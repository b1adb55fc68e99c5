"""A real OpenTelemetry Collector with the configuration of infra/collector, and what it has received.

Knows nothing of Weir's spans or metrics.
"""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.server_process import ServerProcess, answers_ok, free_port
from tests.workers.telemetry.collector_binary import MANIFEST, binary

CONFIGURATION = MANIFEST.with_name("collector.yaml")


class Collector:
    """One collector process on 127.0.0.1. Use as a context manager.

    Args:
        folder: where its log and the file of its file exporter go.

    Attributes:
        traces_file: one OTLP request in JSON a line, written within a second or two.
        metrics_url: what Prometheus scrapes.
    """

    def __init__(self, folder: Path) -> None:
        taken: set[int] = set()
        self._ports = {name: free_port(taken) for name in ("GRPC", "HTTP", "PROMETHEUS", "HEALTH")}
        self.traces_file = folder / "traces.jsonl"
        self._process = ServerProcess("the collector", folder / "collector.log")

    @property
    def endpoint(self) -> str:
        """Where OTLP over HTTP is taken."""
        return f"http://127.0.0.1:{self._ports['HTTP']}"

    @property
    def grpc_endpoint(self) -> str:
        """Where OTLP over gRPC is taken."""
        return f"http://127.0.0.1:{self._ports['GRPC']}"

    @property
    def prometheus_port(self) -> int:
        """Of the Prometheus exporter."""
        return self._ports["PROMETHEUS"]

    @property
    def metrics_url(self) -> str:
        """What Prometheus scrapes."""
        return f"http://127.0.0.1:{self.prometheus_port}/metrics"

    @property
    def variables(self) -> dict[str, str]:
        """What the environment of a process says that shall send everything here, metrics five times a second."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, at the ports that it had; returns when it takes telemetry."""
        environment = {f"COLLECTOR_{name}_PORT": str(port) for name, port in self._ports.items()}
        environment |= {"COLLECTOR_HOST": "127.0.0.1", "COLLECTOR_TRACES_FILE": str(self.traces_file)}
        self._process.spawn([str(binary()), "--config", str(CONFIGURATION)], **environment)
        self._process.wait_ready(lambda: answers_ok(f"http://127.0.0.1:{self._ports['HEALTH']}/"))

    def stop(self) -> None:
        """Have it write what it holds, and end."""
        self._process.end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._process.end(signal.SIGKILL)

    def stall(self) -> None:
        """Let it take connections and answer nothing."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.signal(signal.SIGCONT)

    def spans(self) -> list[dict[str, Any]]:
        """All spans so far as OTLP's JSON has them, with their resource's attributes as `resource`."""
        if not self.traces_file.exists():
            return []
        return [
            {**span, "resource": _attributes(resource["resource"])}
            for line in self.traces_file.read_text(encoding="utf-8").splitlines()
            if line.endswith("}")
            for resource in json.loads(line)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def metrics_text(self) -> str:
        """What Prometheus would be given now."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:
            return str(answer.read().decode())


def _attributes(place: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: next(iter(item["value"].values())) for item in place.get("attributes", ())}
