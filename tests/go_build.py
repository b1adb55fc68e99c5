"""Runs Go, and builds commands of published modules with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.cache import UnavailableError

TIMEOUT_S = 1_500


def run_go(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """What Go answers on stdout. Raises UnavailableError with its last line."""
    found = shutil.which("go")
    if found is None:
        raise UnavailableError("some of what the tests run is built with Go, and there is no go on PATH")
    try:
        done = subprocess.run(
            [found, *arguments],
            env={**os.environ, **environment}, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"go {' '.join(arguments)}: not done in {TIMEOUT_S} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().splitlines() if not re.match(r"go: (downloading|finding)", line)]
        raise UnavailableError(f"go {' '.join(arguments)}: {(lines or ['no message'])[-1][:300]}")
    return done.stdout


def build_command(package: str, version: str, built: Path) -> None:
    """Build a command inside its own module, as its makers do: `go install` refuses modules that replace others.

    Args:
        package: its import path, `MODULE/cmd/NAME`.
        version: of the module.
        built: where the binary goes.
    """
    module = package.split("/cmd/")[0]
    source = Path(json.loads(run_go("mod", "download", "-json", f"{module}@{version}"))["Dir"])
    options = ("-trimpath", "-ldflags=-s -w", "-o", str(built))
    run_go("build", *options, f"./{package.removeprefix(module)}", cwd=source, GOFLAGS="-mod=readonly", CGO_ENABLED="0")
