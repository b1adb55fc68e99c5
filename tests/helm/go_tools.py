"""Helm and the chart's checkers, each built once from its Go module into the cache folder.

`python -m tests.helm.go_tools` builds them all, which takes minutes the first time; the tests build nothing.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from tests.cache import UnavailableError, built_once
from tests.go_build import build_command, run_go

# name: package of the command, version
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
    package, version = TOOLS[name]

    def build(folder: Path) -> None:
        _may_build()
        build_command(package, version, folder / name)

    return built_once(f"{name}-{version}", name, build)


@functools.cache
def checker(name: str) -> Path:
    """The path of a command of tests/helm/checkers, `objects` or `images`; built when missing or of another source."""
    sources = [CHECKERS / "go.mod", CHECKERS / "go.sum", *sorted((CHECKERS / name).glob("*.go"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]

    def build(folder: Path) -> None:
        _may_build()
        run_go("build", "-o", str(folder / name), f"./{name}", cwd=CHECKERS, CGO_ENABLED="0")

    return built_once(f"checker-{name}-{digest}", name, build)


_building = False


def _may_build() -> None:
    if not _building:
        raise UnavailableError("the chart's checks have not been built: make test-helm does it")


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
