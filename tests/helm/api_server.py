"""Kubernetes' own API server on etcd, with the operators' definitions: takes objects as a cluster does, runs nothing.

`python -m tests.helm.api_server` builds both and kubectl, which takes minutes; the tests build nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.cache import CACHE, UnavailableError, built_once
from tests.go_build import run_go
from tests.helm.go_tools import CHECKERS
from tests.server_process import ServerProcess, answers_ok, free_port

SOURCE = Path(__file__).with_name("kubernetes")
BINARIES = ("etcd", "kube-apiserver", "kubectl")
# Of the operators, at the versions of the checkers: modules, and in them the definitions of the chart's kinds.
DEFINITIONS = {
    "github.com/ray-project/kuberay/ray-operator": ("config/crd/bases/ray.io_rayservices.yaml",),
    "github.com/kedacore/keda/v2": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}
VERSION_VARIABLE = "k8s.io/component-base/version.gitVersion"
STRIMZI_KINDS = ("KafkaTopic", "KafkaUser")
TOKEN = "of-a-throw-away-server"
START_TIMEOUT_S = 120.0
CALL_TIMEOUT_S = 60


def binaries() -> Path:
    """The folder of BINARIES. Raises UnavailableError where they have not been built."""
    return _built(may_build=False)


@functools.cache
def _built(*, may_build: bool) -> Path:
    digest = hashlib.sha256((SOURCE / "go.sum").read_bytes()).hexdigest()[:16]

    def build(folder: Path) -> None:
        if not may_build:
            raise UnavailableError("no API server has been built: python -m tests.helm.api_server does it")
        packages = [f"./{name}" for name in BINARIES]
        flags = f"-ldflags=-s -w -X {VERSION_VARIABLE}={_module_version('k8s.io/kubernetes', SOURCE)}"
        run_go("build", "-trimpath", flags, "-o", f"{folder}/", *packages, cwd=SOURCE, CGO_ENABLED="0")

    return built_once(f"kubernetes-{digest}", BINARIES[-1], build).parent


class ApiServer:
    """One API server on 127.0.0.1. Use as a context manager.

    Args:
        folder: of its data, keys and logs.

    Attributes:
        kubeconfig: how Helm and kubectl get at it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.kubeconfig = folder / "kubeconfig"
        taken: set[int] = set()
        self._etcd, self._peers, self._port = (free_port(taken) for _ in range(3))

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            self._write_access()
            begun.callback(self._start_etcd().end, signal.SIGKILL)
            server = self._start_server()
            begun.callback(server.end, signal.SIGKILL)
            made = definitions()
            self.call("create", "--filename=-", stdin=yaml.safe_dump_all(made))
            plurals = ",".join(definition["spec"]["names"]["plural"] for definition in made)
            server.wait_ready(lambda: self.kubectl("get", plurals).returncode == 0, START_TIMEOUT_S)
            self._running = begun.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl."""
        command = [str(binaries() / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=CALL_TIMEOUT_S * 2, check=False
        )

    def call(self, *arguments: str, stdin: str = "") -> str:
        """Run a kubectl that has to succeed; what it prints."""
        done = self.kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def namespace(self, name: str) -> str:
        """Make a namespace that takes only pods of the restricted standard."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.call("create", "--filename=-", stdin=yaml.safe_dump(made))
        return name

    def _start_etcd(self) -> ServerProcess:
        clients, peers = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peers}"
        process = ServerProcess("etcd", self._folder / "etcd.log")
        process.spawn([
            str(binaries() / "etcd"), f"--data-dir={self._folder / 'etcd'}", "--unsafe-no-fsync",
            f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        ])  # fmt: skip
        process.wait_ready(lambda: answers_ok(f"{clients}/health"), START_TIMEOUT_S)
        return process

    def _start_server(self) -> ServerProcess:
        process = ServerProcess("the API server", self._folder / "apiserver.log")
        process.spawn([
            str(binaries() / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            "--bind-address=127.0.0.1", f"--secure-port={self._port}", f"--cert-dir={self._folder / 'certificates'}",
            f"--token-auth-file={self._folder / 'tokens.csv'}", "--authorization-mode=AlwaysAllow",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.0.0.0/24",
            *(f"--service-account-{use}-file={self._folder / 'key.pem'}" for use in ("key", "signing-key")),
            # Nobody is here who would make a namespace's default account.
            "--disable-admission-plugins=ServiceAccount",
        ])  # fmt: skip
        process.wait_ready(lambda: self.kubectl("get", "--raw=/readyz").returncode == 0, START_TIMEOUT_S)
        return process

    def _write_access(self) -> None:
        (self._folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
        key = ["openssl", "genrsa", "-out", str(self._folder / "key.pem"), "2048"]
        subprocess.run(key, check=True, capture_output=True, timeout=CALL_TIMEOUT_S)
        cluster = {"server": f"https://127.0.0.1:{self._port}", "insecure-skip-tls-verify": True}
        access: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(yaml.safe_dump(access), encoding="utf-8")
        self.kubeconfig.chmod(0o600)


def definitions() -> list[dict[str, Any]]:
    """Custom resource definitions of the operators.

    Strimzi's are published for Helm only, which no registry of modules or jars has: these here name its kinds and take
    anything; tests/helm/strimzi_api.py holds the objects to Strimzi's own classes.
    """
    found = []
    for module, files in DEFINITIONS.items():
        source = f"{module}@{_module_version(module, CHECKERS)}"
        root = Path(json.loads(run_go("mod", "download", "-json", source))["Dir"])
        found += [yaml.load((root / file).read_text(encoding="utf-8"), yaml.CSafeLoader) for file in files]
    return [*found, *(_open_definition(kind) for kind in STRIMZI_KINDS)]


def _module_version(module: str, folder: Path) -> str:
    found = re.search(rf"{re.escape(module)}\S* (v\S+)", (folder / "go.mod").read_text(encoding="utf-8"))
    assert found is not None, module
    return found[1]


def _open_definition(kind: str) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.kafka.strimzi.io"},
        "spec": {
            "group": "kafka.strimzi.io",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": anything}],
        },
    }


def main() -> None:
    """Build what is missing."""
    CACHE.mkdir(exist_ok=True)
    print(_built(may_build=True))  # noqa: T201 - a command


if __name__ == "__main__":
    main()
