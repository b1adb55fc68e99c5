"""The engine, its tests and its benchmark on a machine that has torch and transformers, but nothing else of ours."""

import subprocess
import sys

from tests.tree import ROOT

ABSENT = ("kafka", "ray", "pydantic", "pydantic_settings", "opentelemetry", "prometheus_client", "cloudevents")
WITHOUT = f"""
import sys
for name in {ABSENT}:
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
"""
# The benchmark, then the tests as `make test-gpu` runs them: the folders above have fixtures for what is absent.
PROGRAM = """
import pytest
import workers.bench.engine.throughput
folder = "tests/workers/serving/engine"
sys.exit(pytest.main(["--confcutdir=" + folder, folder, "-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider"]))
"""


def test_needs_torch_and_transformers_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
