"""Renders the chart with real Helm and reads what comes out."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.helm.go_tools import tool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "weir"
FEATURES = sorted(CHART.glob("ci/*-values.yaml"))
EXAMPLES = sorted(CHART.glob("examples/*/values.yaml"))
VERSIONS = ("helm3", "helm4")
KUBERNETES = "1.33.0"
API_VERSIONS = ("ray.io/v1", "kafka.strimzi.io/v1", "keda.sh/v1alpha1", "monitoring.coreos.com/v1")
MINIMAL: dict[str, Any] = yaml.safe_load((CHART / "ci" / "minimal-values.yaml").read_text(encoding="utf-8"))
_CALL_TIMEOUT_S = 60
Object = dict[str, Any]


def name_of(values: Path) -> str:
    """What a values file is called in a test's name."""
    return values.parent.name if values.name == "values.yaml" else values.name.removesuffix("-values.yaml")


def helm(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of VERSIONS."""
    command = [str(tool(version)), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_CALL_TIMEOUT_S, check=False)


def template(
    version: str,
    *values: Path,
    apis: tuple[str, ...] = API_VERSIONS,
    extra: tuple[str, ...] = (),
    release: str = "weir",
) -> subprocess.CompletedProcess[str]:
    """`helm template`, as on a cluster that has the kinds `apis`."""
    arguments = [f"--values={path}" for path in values] + [f"--api-versions={api}" for api in apis]
    return helm(version, "template", release, str(CHART), "--kube-version", KUBERNETES, *arguments, *extra)


def template_of(version: str, values: dict[str, Any], **options: Any) -> subprocess.CompletedProcess[str]:
    """The same for values that are in no file. As JSON: PyYAML writes the texts 1e3 and y as others write no texts."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        json.dump(values, file)
        file.flush()
        return template(version, Path(file.name), **options)


@functools.cache
def manifest(version: str, values: Path) -> str:
    """What the chart renders to, as text."""
    done = template(version, values)
    assert done.returncode == 0, f"{values}: {done.stderr}"
    return done.stdout


def objects(values: Path, version: str = "helm3") -> list[Object]:
    """The same as objects, in the order of their kinds and names."""
    return parsed(manifest(version, values))


def parsed(text: str) -> list[Object]:
    """Objects of a manifest, in the order of their kinds and names."""
    found = [item for item in yaml.load_all(text, yaml.CSafeLoader) if item]
    return sorted(found, key=lambda item: (item["kind"], item["metadata"]["name"]))


def pods(found: list[Object]) -> list[tuple[str, Object]]:
    """Every pod template among objects, with a name to call it by."""
    templates = []
    for item in found:
        name, spec = f"{item['kind']} {item['metadata']['name']}", item.get("spec", {})
        match item["kind"]:
            case "RayService":
                cluster = spec["rayClusterConfig"]
                groups = [("head", cluster["headGroupSpec"])]
                groups += [(group["groupName"], group) for group in cluster["workerGroupSpecs"]]
                templates += [(f"{name} {group}", body["template"]) for group, body in groups]
            case "CronJob":
                templates.append((name, spec["jobTemplate"]["spec"]["template"]))
            case "Deployment" | "Job":
                templates.append((name, spec["template"]))
    return templates


def kind(found: list[Object], wanted: str) -> list[Object]:
    """Those of one kind."""
    return [item for item in found if item["kind"] == wanted]
