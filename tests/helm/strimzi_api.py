"""Decodes Strimzi's objects with Strimzi's own Java classes. The jars are fetched once, by Maven."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.helm.go_tools import exclusive
from tests.kafka.distribution import CACHE, UnavailableError, java

_FOLDER = Path(__file__).with_name("strimzi")
_FETCH_TIMEOUT_S = 600


def decode(manifest: str) -> subprocess.CompletedProcess[str]:
    """Decode every object of a manifest; one line each on stdout. Raises UnavailableError."""
    command = [java(), "-cp", _classpath(_built()), "Objects"]
    return subprocess.run(command, input=manifest, capture_output=True, text=True, timeout=60, check=False)


@functools.cache
def _built() -> Path:
    sources = [_FOLDER / "pom.xml", _FOLDER / "Objects.java"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = CACHE / f"strimzi-{digest}"
    with exclusive("strimzi"):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _build(unfinished)
            unfinished.rename(folder)
    return folder


def _build(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise UnavailableError("Strimzi's API has not been fetched and there is no mvn on PATH to do it")
    pom = ["-f", str(_FOLDER / "pom.xml")]
    _run([maven, "-q", "-B", *pom, "dependency:copy-dependencies", f"-DoutputDirectory={folder}"])
    (compiler,) = folder.glob("ecj-*.jar")
    source = str(_FOLDER / "Objects.java")
    _run([java(), "-jar", str(compiler), "-17", "-nowarn", "-cp", _classpath(folder), "-d", str(folder), source])


def _classpath(folder: Path) -> str:
    return ":".join([str(folder), *(str(path) for path in sorted(folder.glob("*.jar")))])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise UnavailableError(
            f"{Path(command[0]).name}: {next((line for line in lines if 'ERROR' in line), 'failed')[:300]}"
        )
