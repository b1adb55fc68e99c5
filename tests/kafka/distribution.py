"""The Kafka jars of pom.xml, fetched once. Does not start anything."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from tests.cache import UnavailableError, built_once
from tests.maven import copy_dependencies, java

_POM = Path(__file__).with_name("pom.xml")


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
        return f"Apache Kafka cannot run: {error}"
    return None


@functools.cache
def jars() -> Path:
    """The folder of the Kafka jars; fetched when missing or of another pom.xml. Raises UnavailableError."""
    digest = hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    return built_once(f"kafka-{digest}", "jars", lambda folder: copy_dependencies(_POM, folder / "jars"))
