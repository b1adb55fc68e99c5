"""What is removed before it was judged is named, what is left is judged; nobody creates a topic by asking for it."""

import logging

import pytest
from kafka import KafkaAdminClient, TopicPartition
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tests.guards.scripted_guard import ScriptedGuard
from tests.kafka.cluster import KafkaCluster
from tests.site import Site, event, wait_until
from tests.workers.telemetry.measured import series_of
from workers.kafka.consumer import Consumer
from workers.kafka.producer import producer
from workers.settings.sections import KafkaSettings


@pytest.mark.parametrize("begin", ["earliest", "latest"])
def test_p1_records_removed_before_they_were_judged_are_named_and_those_that_are_left_are_judged(
    kafka_site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, begin: str
) -> None:
    site = kafka_site
    sender = producer(site.settings.kafka)

    def send(*numbers: int) -> None:
        for number in numbers:
            sender.send(site.names[0], event(f"e{number}"), partition=1)
        sender.flush()

    send(*range(10))
    first = site.start(ScriptedGuard())
    site.wait_for(10)
    assert first.stop(10.0)
    send(*range(10, 100))
    admin = KafkaAdminClient(bootstrap_servers=site.settings.kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(site.names[0], 1): 60})
    admin.close()

    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    with caplog.at_level(logging.ERROR):
        second = site.start(ScriptedGuard(), site.settings_with(kafka={"auto_offset_reset": begin}))
        site.wait_for(50)
    removed = series_of(reader, "moderation.records.removed")
    assert second.stop(10.0)
    sender.close()

    assert {verdict["event_id"] for verdict in site.verdicts()} == {f"e{n}" for n in (*range(10), *range(60, 100))}
    (told,) = [record for record in caplog.records if "records_removed_unjudged" in record.getMessage()]
    assert told.getMessage().endswith("partition=1 offset=10 first=60 count=50")
    assert sum(removed.values()) == 50


def test_p1_no_topic_is_created_by_asking_for_it() -> None:
    with KafkaCluster(auto_create_topics=True) as cluster:
        settings = KafkaSettings(bootstrap_servers=cluster.bootstrap, group_id="misspelt")
        consumer, sender = Consumer(settings), producer(settings)
        consumer.connect()
        consumer.subscribe(["misspelt-events"], None)  # type: ignore[arg-type]
        wait_until(lambda: consumer.poll(100, 1) == {} and consumer.is_member(), "to be in the group")
        sender.config["max_block_ms"] = 100
        with pytest.raises(Exception, match="Failed to update metadata"):
            sender.send("misspelt-out", b"x", None, [], None)
        admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        assert not [topic for topic in admin.list_topics() if "misspelt" in topic]
        admin.close()
        sender.close()
        consumer.close()
