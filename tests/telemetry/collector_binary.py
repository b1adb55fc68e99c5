"""Builds the OpenTelemetry Collector of infra/collector once, with the collector builder, into the cache folder.

Does not start it.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml

from tests.kafka.distribution import CACHE, UnavailableError

MANIFEST = Path(__file__).parents[2] / "infra" / "collector" / "builder.yaml"
BUILDER = "go.opentelemetry.io/collector/cmd/builder"
SERVICE = "go.opentelemetry.io/collector/otelcol"
BUILD_TIMEOUT_S = 900
PARTS = ("receivers", "processors", "exporters", "extensions", "providers")


@functools.cache
def binary() -> Path:
    """The path of the collector; built with Go when it is missing or of another manifest. Raises UnavailableError."""
    digest = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"collector-{digest}"
    built = folder / "weir-collector"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "collector.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            _build(folder, built.name)
    return built


def _build(folder: Path, name: str) -> None:
    go = shutil.which("go")
    if go is None:
        raise UnavailableError("the collector has not been built and there is no go on PATH to do it")
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    version = f"v{manifest['dist']['version']}"
    # Beside its place and moved there when whole: a build that was broken off is not taken for a good one.
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    _go(go, unfinished, "install", f"{BUILDER}@{version}")
    sources = unfinished / "sources"
    sources.mkdir()
    _write_sources(unfinished / "builder", sources)
    # The builder's own `go mod tidy` wants the modules of the components' tests, too, and not every proxy has them all.
    modules = [part["gomod"] for kind in PARTS for part in manifest[kind]] + [f"{SERVICE} {version}"]
    required = "".join(f"\t{module}\n" for module in modules)
    (sources / "go.mod").write_text(f"module {manifest['dist']['module']}\n\ngo 1.25\n\nrequire (\n{required})\n")
    _go(go, unfinished, "build", "-C", str(sources), "-trimpath", "-ldflags=-s -w", "-o", str(unfinished / name), ".")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _write_sources(builder: Path, sources: Path) -> None:
    command = [str(builder), "--config", str(MANIFEST), "--output-path", str(sources)]
    _run([*command, "--skip-get-modules", "--skip-compilation"], dict(os.environ))


def _go(go: str, folder: Path, *arguments: str) -> None:
    _run([go, *arguments], {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"})


def _run(command: list[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"the collector could not be built in {BUILD_TIMEOUT_S} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().splitlines() if not re.match(r"go: (downloading|finding)", line)]
        raise UnavailableError(f"the collector could not be built: {(lines or ['no message'])[-1][:300]}")
