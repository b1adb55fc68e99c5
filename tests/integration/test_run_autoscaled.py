"""`weir run` with autoscaling on: deployed as `serve deploy` does, with a password in the environment only."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.integration.test_run import Place, Run, until
from tests.kafka.cluster import KafkaCluster
from tests.kafka.security import USERS
from workers.demo.sample import sample_records
from workers.tools.verify.verify import verify


@pytest.mark.timeout(300)
def test_p1_it_starts_follows_the_backlog_and_stops_without_loss(secured_kafka: KafkaCluster, tmp_path: Path) -> None:
    place = Place(
        secured_kafka,
        {
            "bootstrap_servers": secured_kafka.bootstrap_for("SASL_PLAINTEXT"),
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_username": "alice",
            "sasl_password": USERS["alice"],
        },
    )
    scaling = {"ENABLED": "true", "MIN_REPLICAS": "0", "MAX_REPLICAS": "2", "DOWNSCALE_TO_ZERO_DELAY_S": "2"}
    run = Run(place.environment | {f"WEIR_AUTOSCALING__{name}": value for name, value in scaling.items()}, tmp_path)
    try:
        run.wait_running()
        records = sample_records(100)
        ended = sum(not record.is_skipped for record in records)
        place.produce(records)
        until(lambda: place.outcomes() >= ended, f"{ended} outcomes", 120)
        code = run.stop(signal.SIGTERM)
        text = run.text()
        logs = [path.read_text(errors="replace") for path in run.ray.rglob("*.log")]
    finally:
        run.close()

    assert code == 0, text[-3000:]
    assert verify(place.settings).is_proven
    assert USERS["alice"] not in text
    assert any("Importing application 'weir' with arguments" in log for log in logs), "where Serve logs arguments"
    assert any("replicas_wanted wanted=" in log for log in logs), "where the policy logs what it wants"
    assert not any(USERS["alice"] in log for log in logs)
