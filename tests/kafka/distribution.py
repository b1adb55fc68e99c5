"""Finds Java and the Kafka jars of pom.xml, fetching them once with Maven. Does not start anything."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache"
_POM = Path(__file__).with_name("pom.xml")
_OLDEST_JAVA = 17
_FETCH_TIMEOUT_S = 600


class UnavailableError(RuntimeError):
    """Kafka cannot run on this machine; the text says why in one line."""


def required() -> bool:
    """Whether a missing Kafka must fail the tests that need it, instead of skipping them."""
    return os.environ.get("REQUIRE_INTEGRATION") == "1"


@functools.cache
def available() -> str | None:
    """The reason why Kafka cannot run here, or None; fetches the jars if that has not been done yet."""
    try:
        java()
        jars()
    except UnavailableError as error:
        return str(error)
    return None


@functools.cache
def java() -> str:
    """The path of a Java that is new enough. Raises UnavailableError."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        raise UnavailableError(f"Apache Kafka needs Java {_OLDEST_JAVA} and there is no java on PATH")
    answer = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    version = re.search(r'version "(\d+)', answer)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        name = version[1] if version else "unknown"
        raise UnavailableError(f"Apache Kafka needs Java {_OLDEST_JAVA} and {found} is version {name}")
    return found


@functools.cache
def jars() -> Path:
    """The folder of the Kafka jars; fetched when missing, incomplete or of another pom.xml. Raises UnavailableError."""
    pom = _POM.read_text(encoding="utf-8")
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)", pom)
    assert version is not None, f"{_POM} names no kafka_2.13"
    folder = CACHE / f"kafka-{version[1]}"
    # The marker is written last and holds the pom's hash: a broken fetch and a changed pom both fetch again.
    marker, wanted = folder / "complete", hashlib.sha256(pom.encode()).hexdigest()
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists() or marker.read_text() != wanted:
            _fetch(folder)
            marker.write_text(wanted)
    return folder


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise UnavailableError("Apache Kafka has not been fetched and there is no mvn on PATH to do it")
    shutil.rmtree(folder, ignore_errors=True)
    command = [maven, "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    with tempfile.TemporaryFile("w+") as log:
        try:
            status = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, timeout=_FETCH_TIMEOUT_S, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"Maven could not fetch Apache Kafka in {_FETCH_TIMEOUT_S} s") from None
        if status != 0:
            log.seek(0)
            first = next((line.strip() for line in log if "ERROR" in line), "no message")
            raise UnavailableError(f"Maven could not fetch Apache Kafka: {first[:300]}")
