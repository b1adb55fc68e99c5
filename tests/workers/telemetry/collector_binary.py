"""Builds the OpenTelemetry Collector of infra/collector once, with the collector builder, into the cache folder.

Does not start it.
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
from pathlib import Path

import yaml

from tests.cache import UnavailableError, built_once
from tests.go_build import run_go

MANIFEST = Path(__file__).parents[3] / "infra" / "collector" / "builder.yaml"
BUILDER = "go.opentelemetry.io/collector/cmd/builder"
SERVICE = "go.opentelemetry.io/collector/otelcol"
PARTS = ("receivers", "processors", "exporters", "extensions", "providers")
NAME = "weir-collector"


@functools.cache
def binary() -> Path:
    """The path of the collector; built with Go when it is missing or of another manifest. Raises UnavailableError."""
    digest = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]
    return built_once(f"collector-{digest}", NAME, _build)


def _build(folder: Path) -> None:
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    version = f"v{manifest['dist']['version']}"
    run_go("install", f"{BUILDER}@{version}", GOBIN=str(folder), GOFLAGS="-mod=mod")
    sources = folder / "sources"
    sources.mkdir()
    _write_sources(folder / "builder", sources)
    # The builder's own `go mod tidy` wants the modules of the components' tests, too, and not every proxy has them all.
    modules = [part["gomod"] for kind in PARTS for part in manifest[kind]] + [f"{SERVICE} {version}"]
    required = "".join(f"\t{module}\n" for module in modules)
    (sources / "go.mod").write_text(f"module {manifest['dist']['module']}\n\ngo 1.25\n\nrequire (\n{required})\n")
    run_go("build", "-trimpath", "-ldflags=-s -w", "-o", str(folder / NAME), ".", cwd=sources, GOFLAGS="-mod=mod")


def _write_sources(builder: Path, sources: Path) -> None:
    command = [str(builder), "--config", str(MANIFEST), "--output-path", str(sources)]
    options = ["--skip-get-modules", "--skip-compilation"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnavailableError(f"the collector could not be built: {last[:300]}")
