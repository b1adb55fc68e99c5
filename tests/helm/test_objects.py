"""Every object that the chart makes is what its own maker takes, and every pod is fit for the restricted standard."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cache import UnavailableError
from tests.helm import kubernetes_schemas, strimzi_api
from tests.helm.go_tools import checker, tool
from tests.helm.rendering import CHART, EXAMPLES, FEATURES, Object, kind, manifest, name_of, objects, pods
from tests.workers.telemetry.prometheus import promtool
from workers.kafka.topics import topic_roles, wanted_topics
from workers.settings.loading import load_settings
from workers.settings.stream_guard import delta_group
from workers.tools.inspect.kafka_checks import RIGHTS

EVERY = [*FEATURES, *EXAMPLES]
STRIMZI = [values for values in EVERY if "strimzi:" in values.read_text(encoding="utf-8")]
OPERATORS = ("ray.io", "kafka.strimzi.io", "keda.sh", "monitoring.coreos.com")
CA_ONLY = "strimzi-scram"


def text_of(found: list[Object]) -> str:
    """As JSON, which is YAML: PyYAML writes the text 1e5 as others write the number."""
    return "".join(f"---\n{json.dumps(item)}\n" for item in found)


def is_strimzi(item: Object) -> bool:
    return bool(item["apiVersion"].startswith("kafka.strimzi.io"))


def decode(manifest_text: str) -> subprocess.CompletedProcess[str]:
    command = [str(checker("objects"))]
    return subprocess.run(command, input=manifest_text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("values", EVERY, ids=name_of)
def test_every_object_decodes_strictly_into_its_makers_go_type_and_passes_its_validation(values: Path) -> None:
    found = [item for item in objects(values) if not is_strimzi(item)]
    done = decode(text_of(found))

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(found) > 0


@pytest.mark.parametrize("values", STRIMZI, ids=name_of)
def test_every_strimzi_object_decodes_strictly_into_strimzis_java_class(values: Path) -> None:
    found = [item for item in objects(values) if is_strimzi(item)]
    done = strimzi_api.decode(text_of(found))

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(found) > 0


@pytest.mark.parametrize(
    ("values", "right", "wrong"),
    [
        ("minimal", "rayClusterConfig", "rayClusterConfigs"),
        ("minimal", "groupName: guard", "group: guard"),
        ("minimal", "readOnlyRootFilesystem", "readonlyRootFs"),
        ("minimal", "minReplicas: 1", "minReplicas: 5"),
        ("minimal", 'type: "NewCluster"', 'type: "NewClusters"'),
        ("minimal", "maxUnavailable", "maxUnavailible"),
        ("keda-backlog", "backlog ??", "backlogs ??"),
        ("keda-backlog", "scalingModifiers # else", "currentReplicas #"),
        ("keda-backlog", "(lag0 == nil || lag1 == nil ? nil : lag0 + lag1)", "(lag0 + lag1)"),
    ],
)
def test_a_planted_fault_is_found(values: str, right: str, wrong: str) -> None:
    text = manifest("helm3", CHART / "ci" / f"{values}-values.yaml")
    assert right in text

    assert decode(text.replace(right, wrong)).returncode == 1


@pytest.mark.parametrize(
    ("right", "wrong"),
    [('"partitions"', '"partition"'), ('"operations"', '"operation"'), ('"type": "topic"', '"type": "topics"')],
)
def test_a_planted_fault_in_a_strimzi_object_is_found(right: str, wrong: str) -> None:
    text = text_of([item for item in objects(CHART / "ci" / "strimzi-scram-values.yaml") if is_strimzi(item)])
    assert right in text

    assert strimzi_api.decode(text.replace(right, wrong)).returncode == 1


@pytest.mark.timeout(300)
def test_kubeconform_takes_every_object_of_kubernetes_itself(tmp_path: Path) -> None:
    for values in EVERY:
        own = [item for item in objects(values) if not item["apiVersion"].startswith(OPERATORS)]
        (tmp_path / f"{name_of(values)}.yaml").write_text(text_of(own), encoding="utf-8")
    location = f"{kubernetes_schemas.folder()}/{kubernetes_schemas.PATTERN}"
    command = [str(tool("kubeconform")), "-summary", "-schema-location", location, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Skipped: 0" in done.stdout


@pytest.mark.parametrize("values", EVERY, ids=name_of)
def test_every_pod_is_fit_for_the_restricted_standard_and_says_what_it_needs(values: Path) -> None:
    found = pods(objects(values))
    assert found
    for name, pod in found:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(spec), name
        assert all({"hostPath"}.isdisjoint(volume) for volume in spec["volumes"]), name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], name
            assert container["workingDir"] == "/tmp", f"{name}: Ray imports from there first"
            assert {"name": "tmp", "emptyDir": {}} in spec["volumes"], name


@pytest.mark.parametrize("values", EVERY, ids=name_of)
def test_only_the_heads_autoscaler_has_a_token_for_the_api_server(values: Path) -> None:
    mounted = {name for name, pod in pods(objects(values)) if pod["spec"]["automountServiceAccountToken"]}

    assert all(name.endswith(" head") for name in mounted)


def test_secrets_are_named_and_never_in_the_text() -> None:
    for values in EVERY:
        found = objects(values)
        assert kind(found, "Secret") == []
        for name, pod in pods(found):
            for container in pod["spec"]["containers"]:
                variables = [item["name"] for item in container["env"] if "secretKeyRef" in item.get("valueFrom", {})]
                assert set(variables) <= {"OTEL_EXPORTER_OTLP_HEADERS", "SECRET"}, name


@pytest.mark.parametrize("name", ["strimzi-scram", "shadow", "turns-only"])
def test_the_rights_of_the_strimzi_user_are_those_that_weir_check_asks_for(name: str) -> None:
    values = CHART / "ci" / f"{name}-values.yaml"
    settings = settings_of(values)
    (user,) = kind(objects(values), "KafkaUser")
    given = {
        (acl["resource"]["type"], acl["resource"]["name"]): {operation.upper() for operation in acl["operations"]}
        for acl in user["spec"]["authorization"]["acls"]
    }
    asked = {("topic", name): set(RIGHTS[role]) for name, role in topic_roles(settings).items()}
    group = settings.kafka.group_id
    groups = [delta_group(group)] if settings.deltas.enabled else []
    transactions = {}
    if settings.guard.enabled:
        groups.append(group)
        transactions[("transactionalId", f"{group}-")] = {"DESCRIBE", "WRITE"}

    assert given == asked | {**{("group", name): {"DESCRIBE", "READ"} for name in groups}, **transactions}


@pytest.mark.parametrize("values_name", ["strimzi-scram", "shadow", "turns-only"])
def test_strimzis_topics_are_those_that_weir_topics_would_make(values_name: str) -> None:
    values = CHART / "ci" / f"{values_name}-values.yaml"
    settings = settings_of(values)
    roles: dict[str, Any] = topic_roles(settings)
    roles[settings.topics.parking] = "parked letters"
    wanted = {topic.name: topic for topic in wanted_topics(settings, roles, 24, 3, {})}
    made = {item["spec"]["topicName"]: item["spec"] for item in kind(objects(values), "KafkaTopic")}

    assert set(made) == set(wanted)
    for name, topic in wanted.items():
        assert (made[name]["partitions"], made[name]["replicas"]) == (topic.partitions, topic.replication)
        config = {key: str(value) for key, value in made[name]["config"].items()}
        assert config == {**topic.configs, "compression.type": "producer"}


def settings_of(values: Path) -> Any:
    settings = next(item for item in kind(objects(values), "ConfigMap") if "weir.yaml" in item["data"])
    loaded = yaml.safe_load(settings["data"]["weir.yaml"])
    return load_settings(**{**loaded, "policy": {}})  # its file lies in the pods only


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    (rule,) = kind(objects(CHART / "ci" / "monitoring-values.yaml"), "PrometheusRule")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": rule["spec"]["groups"]}), encoding="utf-8")
    try:
        done = promtool("check", "rules", str(file))
    except UnavailableError as error:
        if os.environ.get("REQUIRE_HELM") == "1":
            raise
        pytest.skip(str(error))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
