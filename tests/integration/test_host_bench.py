"""`weir bench host` on real Kafka and real Ray: every side does its work, and the parts make up the whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka.cluster import KafkaCluster

WEIR = Path(sys.executable).with_name("weir")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_side_is_measured(kafka: KafkaCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)
    done = subprocess.run(
        [WEIR, "bench", "host", "--events", "500", "--partitions", "2", "--runs", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert [run["side"] for run in told["runs"]] == ["weir", "serve.batch", "bare"]
    assert all(spent > 0 for spent in told["parts"].values())
    assert sum(told["parts"].values()) == pytest.approx(told["cpu_us_per_message"])
