"""Decodes Strimzi's objects with Strimzi's own Java classes. The jars are fetched once, by Maven."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from pathlib import Path

from tests.cache import built_once
from tests.maven import copy_dependencies, java, run_java_tool

_FOLDER = Path(__file__).with_name("strimzi")


def decode(manifest: str) -> subprocess.CompletedProcess[str]:
    """Decode every object of a manifest; one line each on stdout. Raises UnavailableError."""
    command = [java(), "-cp", _classpath(_built()), "Objects"]
    return subprocess.run(command, input=manifest, capture_output=True, text=True, timeout=60, check=False)


@functools.cache
def _built() -> Path:
    sources = [_FOLDER / "pom.xml", _FOLDER / "Objects.java"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    return built_once(f"strimzi-{digest}", "Objects.class", _build).parent


def _build(folder: Path) -> None:
    copy_dependencies(_FOLDER / "pom.xml", folder)
    (compiler,) = folder.glob("ecj-*.jar")
    source = str(_FOLDER / "Objects.java")
    run_java_tool(
        [java(), "-jar", str(compiler), "-17", "-nowarn", "-cp", _classpath(folder), "-d", str(folder), source]
    )


def _classpath(folder: Path) -> str:
    return ":".join([str(folder), *(str(path) for path in sorted(folder.glob("*.jar")))])
