"""The Serve configuration of the chart: Ray's own schema takes it, it names what exists, and a Ray cluster runs it.

It is deployed by `serve deploy`, which does what the operator's REST call does.
"""

from __future__ import annotations

import importlib
import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.serve.schema import ServeDeploySchema

from tests.helm.installed_chart import Installed, rendered
from tests.helm.ray_cluster import Cluster
from tests.helm.rendering import CHART, EXAMPLES, FEATURES, kind, name_of, objects
from tests.helm.test_refusals import laid_over
from tests.kafka.cluster import KafkaCluster
from workers.guard.names import APP_NAME, ASK, DELTAS, GUARD, SHADOW, STREAM, STREAM_GUARD
from workers.settings.loading import load_settings

EVERY = [*FEATURES, *EXAMPLES]


def config_of(values: Path) -> dict[str, Any] | None:
    for service in kind(objects(values), "RayService"):
        config: dict[str, Any] = yaml.safe_load(service["spec"]["serveConfigV2"])
        return config
    return None


def named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("values", EVERY, ids=name_of)
def test_rays_schema_takes_it_and_everything_it_names_exists(values: Path) -> None:
    config = config_of(values)
    if config is None:
        return
    schema = ServeDeploySchema.model_validate(config)
    # Ray's schema lets unknown keys of some levels pass.
    assert set(config) == {"proxy_location", "http_options", "applications"}
    ((application,), (checked,)) = config["applications"], schema.applications
    known = {"name", "import_path", "route_prefix", "args", "deployments", "autoscaling_policy"}
    assert set(application) <= known
    assert application["name"] == APP_NAME
    assert callable(named(checked.import_path))
    settings = load_settings(**application["args"])
    beside = {SHADOW} if settings.shadow.has_model else set()
    beside |= {ASK} if settings.ask.enabled else set()
    beside |= {DELTAS} if settings.deltas.enabled else set()
    beside |= {STREAM_GUARD} if settings.deltas.enabled or settings.ask.stream else set()
    beside |= {STREAM, GUARD} if settings.guard.enabled else set()
    assert {item["name"] for item in application["deployments"]} == beside
    if settings.autoscaling.enabled:
        policy = application["autoscaling_policy"]
        made = named(policy["policy_function"])(**policy["policy_kwargs"])
        assert callable(made)
        assert load_settings(autoscaling=policy["policy_kwargs"]).autoscaling == settings.autoscaling
    else:
        assert "autoscaling_policy" not in application


@pytest.mark.parametrize("values", EVERY, ids=name_of)
def test_each_deployment_finds_its_resource_on_one_group_alone(values: Path) -> None:
    for service in kind(objects(values), "RayService"):
        cluster = service["spec"]["rayClusterConfig"]
        offered = {
            group["groupName"]: set(json.loads(json.loads(group["rayStartParams"]["resources"])))
            for group in cluster["workerGroupSpecs"]
        }
        config = yaml.safe_load(service["spec"]["serveConfigV2"])
        wanted = {
            item["name"]: set(item["ray_actor_options"]["resources"])
            for item in config["applications"][0]["deployments"]
        }
        asks = wanted.pop(ASK, ())
        groups = {name: "stream" if name in (STREAM, DELTAS) else "guard" for name in wanted}
        assert {name: offered[group] for name, group in groups.items()} == wanted
        assert not offered["stream"] & offered["guard"]
        head = cluster["headGroupSpec"]["rayStartParams"]
        assert head["num-cpus"] == "0"
        # One of one, so that no second server is put beside the first, which has the port.
        assert json.loads(json.loads(head.get("resources", '"{}"'))) == dict.fromkeys(asks, 1)


def test_rays_autoscaler_reads_the_groups_as_they_are_meant() -> None:
    (service,) = kind(objects(CHART / "ci" / "autoscaling-values.yaml"), "RayService")
    cluster = {"metadata": {"name": "c", "namespace": "n"}, "spec": service["spec"]["rayClusterConfig"]}
    read = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]

    assert read["headgroup"]["resources"]["CPU"] == 0
    stream, guard = read["stream"], read["guard"]
    assert (stream["min_workers"], stream["max_workers"], guard["min_workers"], guard["max_workers"]) == (1, 4, 0, 16)
    assert {key: stream["resources"].get(key) for key in ("CPU", "GPU", "weir_stream")} == {
        "CPU": 2, "GPU": None, "weir_stream": 1000,
    }  # fmt: skip
    assert {key: guard["resources"].get(key) for key in ("CPU", "GPU", "weir_guard")} == {
        "CPU": 4, "GPU": 1, "weir_guard": 1000,
    }  # fmt: skip


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    demo = yaml.safe_load((CHART / "ci" / "cpu-demo-values.yaml").read_text(encoding="utf-8"))
    started = Cluster(rendered(demo))
    try:
        started.start()
        yield started
    finally:
        started.close()


@pytest.mark.timeout(420)
def test_a_ray_cluster_runs_it_and_takes_a_change_of_settings_in_place(
    kafka: KafkaCluster, topics: Any, cluster: Cluster
) -> None:
    demo = yaml.safe_load((CHART / "ci" / "cpu-demo-values.yaml").read_text(encoding="utf-8"))
    small = {
        "guard": {"cpusPerReplica": 0.5},
        "stream": {"cpusPerConsumer": 0.5},
        "settings": {"guard": {"compile": False}},
    }
    installed = Installed(kafka, topics, cluster, laid_over(demo, small))

    installed.deploy()
    installed.moderate(seed=1)

    # What KubeRay and the kubelet ask.
    assert cluster.get("/-/healthz", token=False, port=cluster.proxy) == "success"
    assert "success" in cluster.get("/api/healthz", token=False, port=cluster.agent)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        cluster.get("/api/serve/applications/", token=False)
    # Replicas run on the node of their group, and say what they do where `kubectl logs` reads it.
    assert '"event": "model_loaded"' in cluster.log("guard")
    assert '"event": "partitions_assigned"' in cluster.log("stream")
    assert '"event": "model_loaded"' not in cluster.log("stream") + cluster.log("head")

    before = cluster.log("stream").count('"event": "partitions_assigned"')
    scaling = {"enabled": True, "max_replicas": 1, "max_consumers": 1}
    installed.deploy({"settings": {"delivery": {"chunk_size": 16}, "autoscaling": scaling}})
    installed.moderate(seed=2)

    assert cluster.log("stream").count('"event": "partitions_assigned"') > before
    assert cluster.log("guard").count('"event": "model_loaded"') == 2
