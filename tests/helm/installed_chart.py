"""The chart's Serve configuration, deployed on a Ray cluster of this machine between topics of real Kafka."""

from __future__ import annotations

from typing import Any

import yaml

from tests.helm.ray_cluster import Cluster, until
from tests.helm.rendering import kind, parsed, template_of
from tests.helm.test_refusals import laid_over
from tests.kafka.cluster import KafkaCluster
from workers.demo.sample import sample_records
from workers.kafka.producer import producer
from workers.settings.loading import Settings, load_settings
from workers.tools.verify.verify import verify


class Installed:
    """The chart's Serve configuration on a Ray cluster, between topics of its own."""

    def __init__(self, kafka: KafkaCluster, topics: Any, cluster: Cluster, values: dict[str, Any]) -> None:
        names = {
            name: topics(name, partitions=4, config={"max.message.bytes": "17000000"})
            for name in ("events", "verdicts", "dlq")
        }
        self.values = laid_over(
            values,
            {
                "kafka": {"bootstrapServers": kafka.bootstrap, "groupId": names["events"]},
                "topics": {"events": [names["events"]], "verdicts": names["verdicts"], "deadLetters": names["dlq"]},
            },
        )
        self.cluster = cluster
        self.settings: Settings

    def deploy(self, change: dict[str, Any] | None = None) -> None:
        self.values = laid_over(self.values, change or {})
        config = yaml.safe_load(rendered(self.values)["spec"]["serveConfigV2"])
        config["http_options"]["port"] = self.cluster.proxy
        config["http_options"]["host"] = "127.0.0.1"
        self.settings = load_settings(**config["applications"][0]["args"])
        file = self.cluster.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        done = self.cluster.serve("deploy", str(file))
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: self.application()["status"] == "RUNNING" and self.is_as_asked(), "the application to run", 240)

    def is_as_asked(self) -> bool:
        found = self.application().get("deployed_app_config") or {}
        return bool(load_settings(**found.get("args", {})) == self.settings)

    def application(self) -> dict[str, Any]:
        found = self.cluster.application()
        assert found.get("status") != "DEPLOY_FAILED", found.get("message")
        return found or {"status": "NOT_STARTED"}

    def moderate(self, seed: int) -> None:
        sample = sample_records(60, seed=seed)
        sender = producer(self.settings.kafka)
        for record in sample:
            sender.send(self.settings.topics.events[0], record.value, record.key, record.headers)
        sender.flush()
        sender.close()
        until(lambda: verify(self.settings).is_proven, "every record to have its outcome", 240)


def rendered(values: dict[str, Any]) -> dict[str, Any]:
    done = template_of("helm3", values)
    assert done.returncode == 0, done.stderr
    return kind(parsed(done.stdout), "RayService")[0]
