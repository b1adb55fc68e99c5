"""Helm and the chart's checkers, each built once from its Go module into the cache folder.

`python -m tests.helm.go_tools` builds them all, which takes minutes the first time; the tests build nothing.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.kafka.distribution import CACHE, UnavailableError

BUILD_TIMEOUT_S = 1_500
# name: module, version
TOOLS = {
    "helm3": ("helm.sh/helm/v3/cmd/helm", "v3.22.0"),
    "helm4": ("helm.sh/helm/v4/cmd/helm", "v4.3.1"),
    "helm-unittest": ("github.com/helm-unittest/helm-unittest/cmd/helm-unittest", "v1.1.2"),
    "helm-docs": ("github.com/norwoodj/helm-docs/cmd/helm-docs", "v1.14.2"),
    "kubeconform": ("github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0"),
}


CHECKERS = Path(__file__).with_name("checkers")


@functools.cache
def tool(name: str) -> Path:
    """The path of a tool of TOOLS; built with Go when it is missing. Raises UnavailableError."""
    module, version = TOOLS[name]
    folder = CACHE / f"{name}-{version}"
    built = folder / name
    with exclusive(name):
        if not built.exists():
            _may_build()
            _install(f"{module}@{version}", built)
    return built


@functools.cache
def checker(name: str) -> Path:
    """The path of a command of tests/helm/checkers, `objects` or `images`; built when missing or of another source."""
    sources = [CHECKERS / "go.mod", CHECKERS / "go.sum", *sorted((CHECKERS / name).glob("*.go"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    built = CACHE / f"checker-{name}-{digest}"
    with exclusive(f"checker-{name}"):
        if not built.exists():
            _may_build()
            unfinished = built.with_suffix(".unfinished")
            run_go(["build", "-o", str(unfinished), f"./{name}"], {**os.environ, "CGO_ENABLED": "0"}, CHECKERS)
            unfinished.rename(built)
    return built


def go() -> str:
    """The path of Go. Raises UnavailableError."""
    found = shutil.which("go")
    if found is None:
        raise UnavailableError("the chart's checks are built with Go, and there is no go on PATH")
    return found


_building = False


def _may_build() -> None:
    if not _building:
        raise UnavailableError("the chart's checks have not been built: make test-helm does it")


def exclusive(name: str) -> _Lock:
    """One builder of a name at a time, also among processes. Use as a context manager."""
    return _Lock(CACHE / f"{name}.lock")


class _Lock:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._path.parent.mkdir(exist_ok=True)
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _install(what: str, built: Path) -> None:
    """Build a command inside its own module, as its makers do: `go install` refuses modules that replace others."""
    module, version = what.split("@")
    root = module.split("/cmd/")[0]
    answer = run_go(["mod", "download", "-json", f"{root}@{version}"], dict(os.environ))
    # Beside its place and moved there when whole: a build that was broken off is not taken for a good one.
    unfinished = built.parent.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    source, output = Path(json.loads(answer)["Dir"]), unfinished / built.name
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    run_go(
        ["build", "-trimpath", "-ldflags=-s -w", "-o", str(output), f"./{module.removeprefix(root)}"],
        environment,
        source,
    )
    shutil.rmtree(built.parent, ignore_errors=True)
    unfinished.rename(built.parent)


def run_go(arguments: list[str], environment: dict[str, str], cwd: Path | None = None) -> str:
    """What Go answers on stdout. Raises UnavailableError with its last line."""
    try:
        done = subprocess.run(
            [go(), *arguments],
            env=environment, cwd=cwd, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"go {' '.join(arguments)}: not done in {BUILD_TIMEOUT_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnavailableError(f"go {' '.join(arguments)}: {last[:300]}")
    return done.stdout


def main() -> None:
    """Build everything that is missing, one after another."""
    global _building
    _building = True
    for name in TOOLS:
        print(tool(name), flush=True)  # noqa: T201 - a command
    for name in ("objects", "images"):
        print(checker(name), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
