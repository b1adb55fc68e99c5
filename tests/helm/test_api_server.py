"""A real API server takes every object that the chart makes, and real Helm installs and upgrades on it.

Optional: runs where `python -m tests.helm.api_server` has built it, and must where REQUIRE_API_SERVER=1.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cache import UnavailableError
from tests.helm.api_server import ApiServer, binaries
from tests.helm.go_tools import tool
from tests.helm.hostile_values import HOSTILE
from tests.helm.rendering import CHART, EXAMPLES, FEATURES, VERSIONS, manifest, name_of, objects
from tests.helm.test_hostile_values import rendered
from tests.helm.test_objects import text_of

EVERY = [*FEATURES, *EXAMPLES]
STRIMZI_NAMESPACE = "kafka"  # of the values that say where Strimzi watches


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One for all tests, or none."""
    try:
        binaries()
    except UnavailableError as error:
        if os.environ.get("REQUIRE_API_SERVER") == "1":
            pytest.fail(f"REQUIRE_API_SERVER=1, but {error}", pytrace=False)
        pytest.skip(str(error))
    with ApiServer(tmp_path_factory.mktemp("kubernetes")) as running:
        running.namespace(STRIMZI_NAMESPACE)
        yield running


@pytest.fixture
def namespace(server: ApiServer) -> str:
    """A test's own, of the restricted standard."""
    return server.namespace(f"weir-{uuid.uuid4().hex[:8]}")


def helm_on(server: ApiServer, version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(tool(version)), f"--kubeconfig={server.kubeconfig}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def dry_run(server: ApiServer, namespace: str, text: str) -> subprocess.CompletedProcess[str]:
    strictly = ("--dry-run=server", "--validate=strict", "--filename=-", f"--namespace={namespace}")
    return server.kubectl("create", *strictly, stdin=text)


@pytest.mark.parametrize("values", EVERY, ids=name_of)
def test_every_object_is_taken_in_a_namespace_of_the_restricted_standard(
    server: ApiServer, namespace: str, values: Path
) -> None:
    found = objects(values)
    for place in {item["metadata"].get("namespace", namespace) for item in found}:
        there = [item for item in found if item["metadata"].get("namespace", namespace) == place]
        done = dry_run(server, place, text_of(there))

        assert done.returncode == 0, done.stderr
        assert "would violate PodSecurity" not in done.stderr
        assert len(done.stdout.splitlines()) == len(there)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values_make_objects_that_are_taken(server: ApiServer, namespace: str, name: str) -> None:
    release, values = HOSTILE[name]
    found = rendered(values, release)
    for place in {item["metadata"].get("namespace", namespace) for item in found}:
        there = [item for item in found if item["metadata"].get("namespace", namespace) == place]
        done = dry_run(server, place, text_of(there))

        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("rayClusterConfig:", "rayClusterConfigs:", "rayClusterConfigs"),
        ("groupName: guard", "groupName: 7", "groupName"),
        ("kind: ServiceAccount", "kind: ServiceAcount", "ServiceAcount"),
    ],
)
def test_a_planted_fault_is_refused(server: ApiServer, namespace: str, right: str, wrong: str, said: str) -> None:
    text = manifest("helm3", CHART / "ci" / "minimal-values.yaml")
    assert right in text
    done = dry_run(server, namespace, text.replace(right, wrong))

    assert done.returncode != 0
    assert said in done.stderr


def test_a_pod_that_the_standard_does_not_allow_is_told_of(server: ApiServer, namespace: str) -> None:
    text = manifest("helm3", CHART / "ci" / "minimal-values.yaml")
    done = dry_run(server, namespace, text.replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"))

    assert "would violate PodSecurity" in done.stderr


@pytest.mark.parametrize("version", [pytest.param(VERSIONS[0], marks=pytest.mark.slow), *VERSIONS[1:]])
@pytest.mark.parametrize(
    "values", [*EXAMPLES, *(pytest.param(path, marks=pytest.mark.slow) for path in FEATURES)], ids=name_of
)
def test_helm_installs_upgrades_goes_back_and_uninstalls(
    server: ApiServer, namespace: str, version: str, values: Path
) -> None:
    def run(command: str, *arguments: str) -> None:
        # Nobody is here who would run a hook's Job.
        done = helm_on(server, version, command, "weir", *arguments, f"--namespace={namespace}", "--no-hooks")
        assert done.returncode == 0, f"{command}: {done.stderr}"

    run("install", str(CHART), f"--values={CHART / 'ci' / 'minimal-values.yaml'}")
    run("upgrade", str(CHART), f"--values={values}")
    run("rollback", "1")
    run("uninstall")
    ours = ("--selector=app.kubernetes.io/name=weir", "--all-namespaces")
    kinds = "rayservices,deployments,services,configmaps,secrets,kafkausers,scaledobjects,podmonitors,networkpolicies"
    assert server.call("get", kinds, *ours, "--output=name") == ""
    kept = "kafkatopics,persistentvolumeclaims"  # whoever removes a release keeps messages and models
    server.call("delete", kept, "--all", f"--namespace={STRIMZI_NAMESPACE}")
