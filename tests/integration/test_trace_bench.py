"""`weir bench stream --tracing` on real Kafka: every side does its work, and whoever takes spans gets them all."""

import pytest

from tests.kafka.cluster import KafkaCluster
from workers.bench.stream.tracing import SIDES, run_trace_bench
from workers.settings.loading import load_settings


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_side_finishes_and_a_collector_that_answers_gets_all_spans(kafka: KafkaCluster) -> None:
    steps: list[str] = []
    settings = load_settings(kafka={"bootstrap_servers": kafka.bootstrap})
    result = run_trace_bench(settings, events=600, partitions=2, runs=1, step=steps.append)

    assert result.rates.keys() == SIDES.keys()
    assert all(len(rates) == 1 and rates[0] > 0 for rates in result.rates.values())
    assert result.lost == {"one_percent": 0, "all": 0}
    assert result.to_dict()["costs"].keys() == SIDES.keys()
    assert len(steps) == len(SIDES) + 2
