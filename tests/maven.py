"""Fetches jars with Maven, once, and finds the Java that runs them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.cache import UnavailableError

_OLDEST_JAVA = 17
_FETCH_TIMEOUT_S = 600


@functools.cache
def java() -> str:
    """The path of a Java that is new enough. Raises UnavailableError."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        raise UnavailableError(f"some of what the tests run needs Java {_OLDEST_JAVA} and there is no java on PATH")
    answer = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    version = re.search(r'version "(\d+)', answer)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        name = version[1] if version else "unknown"
        raise UnavailableError(f"Java {_OLDEST_JAVA} is needed and {found} is version {name}")
    return found


def copy_dependencies(pom: Path, folder: Path) -> None:
    """Put all jars that a pom.xml names into a folder. Raises UnavailableError with Maven's first error."""
    maven = shutil.which("mvn")
    if maven is None:
        raise UnavailableError(f"the jars of {pom.parent.name}/{pom.name} are missing and there is no mvn on PATH")
    command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    run_java_tool(command)


def run_java_tool(command: list[str]) -> None:
    """Run Maven or a compiler. Raises UnavailableError with its first error."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{name}: not done in {_FETCH_TIMEOUT_S} s") from None
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise UnavailableError(f"{name}: {next((line for line in lines if 'ERROR' in line), 'failed')[:300]}")
