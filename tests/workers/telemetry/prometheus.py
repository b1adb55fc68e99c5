"""A real Prometheus that scrapes one endpoint every second, and promtool.

Both are those of Debian's `prometheus` package. Knows nothing of metrics or rules.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.cache import UnavailableError
from tests.server_process import ServerProcess, answers_ok, free_port

CONFIGURATION = Path(__file__).parents[3] / "infra" / "collector" / "prometheus.yaml"


def tool(name: str) -> str:
    """The path of `prometheus` or `promtool`. Raises UnavailableError."""
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"there is no {name} on PATH; Debian's package `prometheus` has it")
    return found


def promtool(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(
        [tool("promtool"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


class Prometheus:
    """One server on 127.0.0.1, with the scrape configuration of infra/collector. Use as a context manager.

    Args:
        folder: of its data and log.
        target: port that it scrapes, once a second.
    """

    def __init__(self, folder: Path, target: int) -> None:
        self._folder = folder / "prometheus"
        self._target = target
        self._port = free_port(set())
        self._process = ServerProcess("Prometheus", self._folder / "log")

    @property
    def url(self) -> str:
        """Of its HTTP interface."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._folder.mkdir()
        configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["rule_files"] = []
        (scrape,) = configuration["scrape_configs"]
        scrape["static_configs"] = [{"targets": [f"127.0.0.1:{self._target}"]}]
        file = self._folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        command = [
            tool("prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        self._process.spawn(command)
        self._process.wait_ready(lambda: answers_ok(f"{self.url}/-/ready"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.end(signal.SIGKILL)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query's series: `metric` and `value`."""
        return list(self._call("query", query=expression)["result"])

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """A range query's series: `metric` and `values`; times in seconds since the epoch."""
        return list(self._call("query_range", query=expression, start=start, end=end, step=step)["result"])

    def value(self, expression: str) -> float | None:
        """The value of a query of one series; None where there is none."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def description(self, name: str) -> str:
        """What the endpoint says that a metric is."""
        (entry,) = self._call("metadata", metric=name)[name]
        return str(entry["help"])

    def _call(self, what: str, **parameters: object) -> dict[str, Any]:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return dict(told["data"])
