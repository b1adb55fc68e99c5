"""What values mean together: which pods have a model and GPUs, what the network lets out, and how KEDA counts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tests.helm.rendering import CHART, FEATURES, MINIMAL, Object, kind, name_of, objects, parsed, pods, template_of
from tests.helm.test_refusals import laid_over
from workers.cli.app import app

AUDIT: dict[str, Any] = {"audit": {"enabled": True, "args": ["s3://history/", "--into", "s3://audits/1"]}}
STREAM_MODEL: dict[str, Any] = {
    "modelCache": {"download": {"streamSha256": {"model.safetensors": "1" * 64}}},
    "settings": {"deltas": {"enabled": True}, "stream_guard": {"revision": "a" * 40}},
}
DOWNLOAD = {"modelCache": {"download": {"enabled": True, "sha256": {"model.safetensors": "0" * 64}}}}


def made(*values: dict[str, Any]) -> list[Object]:
    merged = MINIMAL
    for item in values:
        merged = laid_over(merged, item)
    done = template_of("helm3", merged)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def pod(found: list[Object], name: str) -> Any:
    return next(body["spec"] for title, body in pods(found) if name in title)


def variables(container: Any) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}


def ports(found: list[Object]) -> set[int]:
    (policy,) = kind(found, "NetworkPolicy")
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}


def commands(found: Iterable[Object]) -> list[list[str]]:
    return [body["spec"]["containers"][0]["command"] for title, body in pods(list(found)) if "RayService" not in title]


@pytest.mark.parametrize("mode", ["rayservice", "deployment"])
def test_a_stream_model_is_fetched_beside_the_other_but_by_no_audit(mode: str) -> None:
    found = made(AUDIT, DOWNLOAD, STREAM_MODEL, {"mode": mode, "check": {"loadModel": True}})
    both = [
        ("model", "Qwen/Qwen3Guard-Gen-0.6B", "sha256"),
        ("stream-model", "Qwen/Qwen3Guard-Stream-0.6B", "streamSha256"),
    ]
    fetched = {
        name: [
            (each["name"], variables(each)["MODEL"], variables(each)["SUMS"])
            for each in pod(found, name)["initContainers"]
        ]
        for name in ("audit", "check", "guard" if mode == "rayservice" else "Deployment")
    }
    (sums,) = [each["data"] for each in kind(found, "ConfigMap") if "download.sh" in each["data"]]

    assert fetched.pop("audit") == both[:1]
    assert list(fetched.values()) == [both, both]
    assert {sums["sha256"][0], sums["streamSha256"][0]} == {"0", "1"}


@pytest.mark.parametrize("mode", ["rayservice", "deployment"])
def test_a_pod_that_may_not_ask_the_hub_for_the_model_fetches_it_before(mode: str) -> None:
    found = made(AUDIT, DOWNLOAD, {"mode": mode, "check": {"loadModel": True}})
    loading = {"audit", "check", "guard" if mode == "rayservice" else "Deployment"}

    fetched = {
        name for name in loading if [item["name"] for item in pod(found, name).get("initContainers", [])] == ["model"]
    }

    assert fetched == loading
    others = [title for title, body in pods(found) if "initContainers" in body["spec"]]
    assert len(others) == len(loading), "nobody else needs it"


def test_the_pod_that_answers_over_http_alone_has_the_keys_and_the_service_finds_it() -> None:
    for name, pod_name in (("ask", "Deployment"), ("ask-rayservice", "head")):
        found = objects(CHART / "ci" / f"{name}-values.yaml")
        (service,), (ingress,) = kind(found, "Service"), kind(found, "Ingress")
        (port,) = service["spec"]["ports"]
        asked = [body for title, body in pods(found) if pod_name in title]
        ours = {key: value for key, value in service["spec"]["selector"].items() if key != "ray.io/serve"}

        assert [body for _, body in pods(found) if ours.items() <= body["metadata"].get("labels", {}).items()] == asked
        (container,) = asked[0]["spec"]["containers"]
        assert {"name": port["targetPort"], "containerPort": port["port"]}.items() <= next(
            item for item in container["ports"] if item["name"] == "ask"
        ).items()
        assert len({item["containerPort"] for item in container["ports"]}) == len(container["ports"])
        (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
        assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": port["name"]}}
        (policy,) = kind(found, "NetworkPolicy")
        assert [{"port": port["port"], "protocol": "TCP"}] in [rule.get("ports") for rule in policy["spec"]["ingress"]]
        with_keys = [title for title, body in pods(found) if "weir-ask-keys" in str(body)]
        assert [title for title in with_keys if "check" not in title] == [
            title for title, _ in pods(found) if pod_name in title
        ]


def test_an_audit_has_the_gpus_of_a_pod_and_no_more_actors_than_find_a_place() -> None:
    shared = {
        "guard": {"replicas": 8, "gpusPerReplica": 0.5, "cpusPerReplica": 1},
        "ray": {"guardGroup": {"maxReplicas": 4}},
    }
    (container,) = pod(made(AUDIT, shared), "audit")["containers"]

    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert variables(container)["WEIR_GUARD__REPLICAS"] == "2"


def test_an_audit_on_cpus_has_as_many_actors_as_cpus() -> None:
    cpus = {"guard": {"replicas": 4, "gpusPerReplica": 0, "gpusPerPod": 0, "cpusPerReplica": 1}}
    (container,) = pod(made(AUDIT, cpus), "audit")["containers"]

    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert variables(container)["WEIR_GUARD__REPLICAS"] == "2"


@pytest.mark.parametrize("schedule", ["", "30 2 * * *"])
def test_the_longest_name_leaves_room_for_what_kubernetes_puts_behind_it(schedule: str) -> None:
    found = made(AUDIT, {"audit": {"schedule": schedule}, "fullnameOverride": "w" * 47})
    names = [(item["kind"], item["metadata"]["name"]) for item in found]

    assert [name for _, name in names if len(name) > 63] == []
    assert [name for kind_, name in names if kind_ == "CronJob" and len(name) > 52] == []


def test_a_check_loads_the_model_where_no_gpu_is_left() -> None:
    (container,) = pod(made({"check": {"loadModel": True}}), "check")["containers"]
    set_there = variables(container)

    assert (set_there["WEIR_GUARD__DEVICE"], set_there["WEIR_GUARD__GPUS_PER_REPLICA"]) == ("cpu", "0")
    (container,) = pod(made(), "check")["containers"]
    assert "WEIR_GUARD__DEVICE" not in variables(container)


@pytest.mark.parametrize("values", FEATURES, ids=name_of)
def test_every_command_of_a_job_is_one_that_weir_takes(values: Path) -> None:
    group = typer.main.get_command(app)
    for command in commands(objects(values)):
        assert command[0] == "weir"
        current: Any = group
        rest = command[1:]
        with group.make_context("weir", list(rest), resilient_parsing=True) as parent:
            while hasattr(current, "commands"):
                current, rest = current.commands[rest[0]], rest[1:]
            current.make_context(" ".join(command), list(rest), parent=parent)


@pytest.mark.parametrize(
    ("telemetry", "port"),
    [
        ({"endpoint": "http://collector:4317"}, 4317),
        ({"endpoint": "http://collector:4318/otlp", "protocol": "http/protobuf"}, 4318),
        ({"endpoint": "https://collector.example/otlp", "protocol": "http/protobuf"}, 443),
        ({"endpoint": "http://collector.example", "protocol": "http/protobuf"}, 80),
        ({"endpoint": "http://collector.example"}, 443),
    ],
)
def test_pods_get_out_to_the_collector_however_its_address_is_written(telemetry: dict[str, str], port: int) -> None:
    found = made({"telemetry": telemetry, "networkPolicy": {"egress": {"enabled": True, "ports": []}}})

    assert ports(found) == {53, 9092, port}


@pytest.mark.parametrize("address", ["redis:6380", "rediss://a.example:6380,rediss://b.example:6380"])
def test_pods_get_out_to_redis(address: str) -> None:
    found = made(
        {
            "ray": {"gcsFaultTolerance": {"enabled": True, "redisAddress": address}},
            "networkPolicy": {"egress": {"enabled": True, "ports": []}},
        }
    )

    assert ports(found) == {53, 9092, 6380}


def test_no_backlog_is_not_a_backlog_of_0_to_keda() -> None:
    """KEDA's Prometheus trigger takes an empty result for 0 unless told otherwise: nothing would come back from 0 pods.

    And it asks a formula with a failed trigger only where the fallback says so.
    """
    scaled = objects(CHART / "ci" / "keda-backlog-values.yaml")
    (spec,) = [item["spec"] for item in kind(scaled, "ScaledObject")]
    prometheus = next(item for item in spec["triggers"] if item["type"] == "prometheus")

    assert prometheus["metadata"]["ignoreNullValues"] == "false"
    assert spec["fallback"]["behavior"] == "scalingModifiers"
    (lags_only,) = [item["spec"] for item in kind(objects(CHART / "ci" / "keda-values.yaml"), "ScaledObject")]
    assert lags_only["fallback"]["behavior"] == "currentReplicas"
    assert "advanced" not in lags_only


def test_topics_are_applied_by_the_account_whose_token_is_meant() -> None:
    values = {
        "kafka": {"tls": {"enabled": True}, "sasl": {"mechanism": "OAUTHBEARER", "token": {"audience": "kafka"}}},
        "serviceAccount": {"create": False, "name": "moderation"},
        "topics": {"apply": {"enabled": True}},
    }

    assert pod(made(values), "topics")["serviceAccountName"] == "moderation"


def test_no_text_asks_helm_for_the_log_of_a_job() -> None:
    """Helm 3 looks for a pod of the hook's name and fails, Helm 4 prints nothing: the check is a Job."""
    assert [item["metadata"]["name"] for item in kind(made(), "Job")] == ["weir-check"]
    texts = [CHART / "README.md", CHART / "templates/NOTES.txt", CHART.parents[1] / "infra/kind/README.md"]

    assert [path.name for path in texts if re.search("helm test.*--logs", path.read_text(encoding="utf-8"))] == []
