"""Values that charts stumble over make whole objects: by Helm 3 and 4, kubeconform and the makers' own types."""

from __future__ import annotations

import json
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.strict_yaml import StrictLoader
from tests.helm import kubernetes_schemas
from tests.helm.go_tools import tool
from tests.helm.hostile_values import AFFINITY, FIELDS, HOSTILE, JOBS, on_every_pod
from tests.helm.rendering import (
    API_VERSIONS,
    CHART,
    KUBERNETES,
    MINIMAL,
    VERSIONS,
    Object,
    helm,
    kind,
    parsed,
    pods,
    template_of,
)
from tests.helm.test_objects import OPERATORS, decode, is_strimzi, text_of
from tests.helm.test_refusals import laid_over

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def rendered(values: dict[str, Any], release: str = "weir", version: str = "helm3") -> list[Object]:
    """Objects of the minimal values and these; no key of theirs is there twice."""
    done = template_of(version, laid_over(MINIMAL, values), release=release)
    assert done.returncode == 0, done.stderr
    for document in yaml.compose_all(done.stdout, StrictLoader):
        StrictLoader("").construct_document(document) if document is not None else None
    return parsed(done.stdout)


def is_selected(pod: Object, selector: Object) -> bool:
    labels = pod["metadata"]["labels"].items()
    return bool(selector["matchLabels"]) and selector["matchLabels"].items() <= labels


@pytest.mark.parametrize("name", HOSTILE)
def test_every_object_is_taken_by_its_maker(name: str, tmp_path: Path) -> None:
    release, values = HOSTILE[name]
    found = rendered(values, release)
    assert found == rendered(values, release, "helm4")

    done = decode(text_of([item for item in found if not is_strimzi(item)]))
    assert done.returncode == 0, done.stdout + done.stderr
    own = [item for item in found if not item["apiVersion"].startswith(OPERATORS)]
    (tmp_path / "objects.yaml").write_text(text_of(own), encoding="utf-8")
    location = f"{kubernetes_schemas.folder()}/{kubernetes_schemas.PATTERN}"
    command = [str(tool("kubeconform")), "-strict", "-schema-location", location, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", HOSTILE)
def test_what_selects_pods_selects_its_own(name: str) -> None:
    release, values = HOSTILE[name]
    found = rendered(values, release)
    every = [body for _, body in pods(found)]

    for policy in kind(found, "NetworkPolicy"):
        assert all(is_selected(pod, policy["spec"]["podSelector"]) for pod in every)
        (own, *_) = policy["spec"]["ingress"]
        assert all(is_selected(pod, own["from"][0]["podSelector"]) for pod in every)
    for budget in kind(found, "PodDisruptionBudget"):
        selected = [pod for pod in every if is_selected(pod, budget["spec"]["selector"])]
        assert [pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in selected] == [
            budget["metadata"]["name"].rpartition("-")[2]
        ]
    for deployment in kind(found, "Deployment"):
        assert is_selected(deployment["spec"]["template"], deployment["spec"]["selector"])
    for monitor in kind(found, "PodMonitor"):
        selector = dict(monitor["spec"]["selector"]["matchLabels"])
        assert selector.pop("ray.io/is-ray-node") == "yes"  # KubeRay's
        assert any(is_selected(pod, {"matchLabels": selector}) for pod in every)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_the_environment_is_there_twice_and_the_users_wins(name: str) -> None:
    release, values = HOSTILE[name]
    wanted = {item["name"]: item for item in values.get("extraEnv", [])}
    for title, pod in pods(rendered(values, release)):
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            names = [item["name"] for item in container["env"]]
            assert len(names) == len(set(names)), title
            given = {item["name"]: item for item in container["env"]}
            for key, item in wanted.items():
                if key != "OTEL_RESOURCE_ATTRIBUTES":
                    assert given[key] == item, title


def test_attributes_of_the_users_resource_are_added_to_the_charts() -> None:
    _, values = HOSTILE["environment that the chart has too"]
    for _, pod in pods(rendered(values)):
        given = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
        assert given["OTEL_RESOURCE_ATTRIBUTES"] == (
            "k8s.namespace.name=default,service.instance.group=weir,deployment.environment=prod"
        )


@pytest.mark.parametrize("mode", ["rayservice", "deployment"])
def test_every_kind_of_pod_has_the_fields_that_clusters_need(mode: str) -> None:
    found = pods(rendered({**on_every_pod(FIELDS), "mode": mode}))

    assert len(found) == (6 if mode == "rayservice" else 4)
    for title, pod in found:
        spec = pod["spec"]
        for field in ("runtimeClassName", "priorityClassName", "nodeSelector", "tolerations"):
            assert spec[field] == FIELDS[field], title
        assert spec["affinity"] == AFFINITY, title
        assert FIELDS["podLabels"].items() <= pod["metadata"]["labels"].items(), title
        assert FIELDS["podAnnotations"].items() <= pod["metadata"]["annotations"].items(), title
        assert all(volume in spec["volumes"] for volume in FIELDS["volumes"]), title
        assert all(mount in spec["containers"][0]["volumeMounts"] for mount in FIELDS["volumeMounts"]), title


def test_security_contexts_are_the_users() -> None:
    _, openshift = HOSTILE["OpenShift's own users"]
    for title, pod in pods(rendered({**openshift, "securityContext": {"readOnlyRootFilesystem": False}})):
        context = pod["spec"]["securityContext"]
        assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}, title
        assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is False, title


def sections(values: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every path of the chart's values, sections and leaves alike."""
    found = [(*path, key) for key in values]
    for key, value in values.items():
        if isinstance(value, dict) and key not in ("resources", "podSecurityContext", "securityContext", "labels"):
            found += sections(value, (*path, key))
    return found


def at(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def test_empty_sections_are_as_if_they_were_not_there() -> None:
    needed = sections(MINIMAL)
    empty = [path for path in sections(VALUES) if path not in needed]
    expected = rendered({})
    top = [path for path in empty if len(path) == 1 or path[:-1] in needed]
    below = [path for path in empty if len(path) > 1]

    for paths in (top, below, [path for path in empty if len(path) > 2]):
        values: dict[str, Any] = {}
        for path in paths:
            values = laid_over(values, at(path, None))
        assert rendered(values) == expected


def test_each_section_may_be_empty_alone() -> None:
    expected = rendered({})
    for name in VALUES:
        if name not in MINIMAL:
            assert rendered({name: None}) == expected, name
    for name in ("head", "streamGroup", "guardGroup", "autoscaler", "gcsFaultTolerance"):
        assert rendered({"ray": {name: None}}) == expected, name
    assert rendered({"settings": {"delivery": None, "shadow": None, "autoscaling": None}}) == expected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"weir": {"enabled": True}},
        {"global": {"imagePullSecrets": ["regcred", {"name": "other"}], "imageRegistry": "mirror.example", "x": [1]}},
        {"weir": {"ray": {"head": {"resources": None, "tolerations": None}, "guardGroup": None}}},
        {"weir": {"extraEnv": None, "commonLabels": None, "settings": {"delivery": None}, "kafka": {"tls": None}}},
    ],
    ids=["alone", "enabled", "global", "empty", "more empty"],
)  # fmt: skip
def test_it_is_the_chart_of_a_parent(version: str, given: dict[str, Any], tmp_path: Path) -> None:
    chart = {
        "apiVersion": "v2",
        "name": "platform",
        "version": "0.1.0",
        "dependencies": [
            {"name": "weir", "version": "*", "condition": "weir.enabled", "repository": f"file://{CHART}"}
        ],
    }
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(chart), encoding="utf-8")
    shutil.copytree(CHART, tmp_path / "charts" / "weir")
    apis = [f"--api-versions={api}" for api in API_VERSIONS]

    def made(values: dict[str, Any]) -> list[Object]:
        (tmp_path / "values.yaml").write_text(json.dumps(values), encoding="utf-8")
        done = helm(version, "template", "weir", str(tmp_path), "--kube-version", KUBERNETES, *apis)
        assert done.returncode == 0, done.stderr
        return parsed(done.stdout)

    found = made(laid_over({"weir": MINIMAL}, given))
    expected = rendered({}, version=version)
    if "global" not in given:
        assert found == expected
    for _, pod in pods(found):
        wanted = [{"name": "regcred"}, {"name": "other"}] if "global" in given else None
        assert pod["spec"].get("imagePullSecrets") == wanted
    assert made({"weir": {**MINIMAL, "enabled": False}}) == []


def test_the_audits_job_has_another_name_where_its_pod_is_another() -> None:
    """Argo CD and Flux know no revisions, and a Job's pod cannot be changed."""

    def name(values: dict[str, Any]) -> str:
        found = rendered(laid_over(JOBS, values))
        return next(str(job["metadata"]["name"]) for job in kind(found, "Job") if "audit" in job["metadata"]["name"])

    assert name({}) == name({"ray": {"head": {"priorityClassName": "x"}}})
    names = {name({}), name({"image": {"tag": "2"}}), name({"audit": {"args": ["x", "--into", "y"]}})}
    assert len(names) == 3
    assert all(item.startswith("weir-audit-1-") for item in names)


def test_nobody_outside_the_operators_namespace_gets_in_by_a_label() -> None:
    def peers(values: dict[str, Any]) -> list[Object]:
        (policy,) = kind(rendered(values), "NetworkPolicy")
        return [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]

    for values in ({}, {"networkPolicy": {"operatorNamespace": "123"}}, {"mode": "deployment"}):
        own, *others = peers(values)
        assert "namespaceSelector" not in own, "pods of the release's own namespace"
        assert len(own["podSelector"]["matchLabels"]) == 2
        for peer in others:
            (namespace,) = peer["namespaceSelector"]["matchLabels"].items()
            assert namespace == (
                "kubernetes.io/metadata.name",
                values.get("networkPolicy", {}).get("operatorNamespace", "kuberay-operator"),
            )


def test_the_values_are_not_changed_by_what_is_laid_over() -> None:
    before = deepcopy(MINIMAL)
    rendered({"ray": None})

    assert before == MINIMAL
