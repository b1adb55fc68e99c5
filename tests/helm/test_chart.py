"""The chart as a whole: it lints, renders the same with Helm 3 and 4, and what is generated or copied is up to date."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.chart_copies import COPIED, DEFAULTS, FILES, INFRA
from infra.chart_schema import OWNED, SCHEMA, schema, sentences
from tests.helm.examples import rendered_files, rendered_text
from tests.helm.go_tools import tool
from tests.helm.rendering import (
    API_VERSIONS,
    CHART,
    EXAMPLES,
    FEATURES,
    KUBERNETES,
    MINIMAL,
    ROOT,
    VERSIONS,
    helm,
    kind,
    manifest,
    name_of,
    objects,
    parsed,
    template,
    template_of,
)
from workers.settings.loading import Settings, load_settings

VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")


def leaves(value: Any, path: str = "") -> list[str]:
    """Paths of all values that a user sets, maps of free keys counting as one."""
    if isinstance(value, dict) and value and not path.endswith(("resources", "labels", "ecurityContext")):
        return [found for key, item in value.items() for found in leaves(item, f"{path}.{key}".lstrip("."))]
    return [path]


@pytest.mark.parametrize("values", [*FEATURES, *EXAMPLES], ids=name_of)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_feature_and_example_lints(version: str, values: Path) -> None:
    done = helm(version, "lint", "--strict", str(CHART), f"--values={values}", "--kube-version", KUBERNETES)
    # Lint knows no operators' kinds and cannot be told of them; their absence is refused, which is what it may say.
    faults = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line or "[WARNING]" in line]

    assert [line for line in faults if "execution error" not in line] == []


@pytest.mark.parametrize("values", [*FEATURES, *EXAMPLES], ids=name_of)
def test_helm_3_and_helm_4_render_the_same(values: Path) -> None:
    assert parsed(manifest("helm3", values)) == parsed(manifest("helm4", values))


@pytest.mark.parametrize("values", EXAMPLES, ids=name_of)
def test_an_example_renders_to_what_is_kept_beside_it(values: Path) -> None:
    kept = {path.name: path.read_text(encoding="utf-8") for path in rendered_files(values)}

    assert kept == rendered_text(values), "make fmt-helm writes it anew"


def test_unit_suites_pass() -> None:
    command = [str(tool("helm-unittest")), "--strict", str(CHART)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_is_what_helm_docs_writes() -> None:
    command = [str(tool("helm-docs")), "--dry-run", "--chart-search-root", str(CHART), "--log-level", "error"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == (CHART / "README.md").read_text(encoding="utf-8").strip(), "make fmt-helm writes it"


def test_the_schema_is_the_generated_one() -> None:
    assert yaml.safe_load(SCHEMA.read_text(encoding="utf-8")) == schema(), "make fmt writes it anew"


def test_the_schema_is_closed_at_every_level() -> None:
    def look(node: Any, path: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object":
                rest = node.get("additionalProperties")
                assert rest is False or (isinstance(rest, dict) and "type" in rest), f"{path} is open"
            if node.get("type") == "array":
                assert "items" in node, f"{path} takes anything"
            for key, inner in node.items():
                look(inner, f"{path}/{key}")
        elif isinstance(node, list):
            for number, inner in enumerate(node):
                look(inner, f"{path}/{number}")

    look(schema(), "")


def test_every_value_has_a_sentence() -> None:
    said = sentences(TEXT)

    assert [path for path in leaves(VALUES) if not said.get(path, "").rstrip("`").endswith(".")] == []
    assert [path for path in said if path not in leaves(VALUES)] == []


def test_every_setting_is_offered_once() -> None:
    every = {
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        for name in field.annotation.model_fields
    }  # type: ignore[union-attr]
    sections = schema()["properties"]["settings"]["properties"]
    offered = {f"{section}.{name}" for section, body in sections.items() for name in body["properties"]}

    assert offered | set(OWNED) == every
    assert offered & set(OWNED) == set()


@pytest.mark.parametrize("values", [*FEATURES, *EXAMPLES], ids=name_of)
def test_the_settings_that_a_chart_writes_are_settings_of_the_code(
    values: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    maps = [item for item in kind(objects(values), "ConfigMap") if "weir.yaml" in item["data"]]
    assert maps
    for found in maps:
        written = yaml.safe_load(found["data"]["weir.yaml"])
        loaded = load_settings(**written).model_dump(mode="json")
        for section, fields in written.items():
            for name, value in fields.items():
                shown = (
                    ",".join(loaded[section][name]) if f"{section}.{name}" == "topics.events" else loaded[section][name]
                )
                if isinstance(value, dict):  # a section of the section
                    shown = {key: shown[key] for key in value}
                assert shown == value, f"{section}.{name}"


def test_large_numbers_stay_whole() -> None:
    text = manifest("helm3", CHART / "ci" / "settings-values.yaml")

    assert "in_flight_bytes: 134217728" in text
    assert "e+0" not in text


@pytest.mark.parametrize("folder", COPIED)
def test_the_chart_has_the_alerts_and_dashboards_of_infra(folder: str) -> None:
    kept = {path.name: path.read_bytes() for path in (FILES / folder).glob("*")}

    assert kept == {path.name: path.read_bytes() for path in (INFRA / folder).glob(COPIED[folder])}, (
        "make fmt copies them"
    )


def test_the_chart_has_its_defaults_where_templates_can_read_them() -> None:
    assert DEFAULTS.read_bytes() == (CHART / "values.yaml").read_bytes(), "make fmt copies them"


def test_versions_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ray = next(item for item in project["optional-dependencies"]["serve"] if item.startswith("ray["))

    assert chart["appVersion"] == project["version"]
    assert f">={VALUES['ray']['version'].rpartition('.')[0]}" in ray


@pytest.mark.parametrize("missing", API_VERSIONS)
def test_a_kind_that_the_cluster_lacks_is_refused_by_name(missing: str) -> None:
    values = CHART / "ci" / {
        "ray.io/v1": "minimal-values.yaml",
        "kafka.strimzi.io/v1": "strimzi-scram-values.yaml",
        "keda.sh/v1alpha1": "keda-values.yaml",
        "monitoring.coreos.com/v1": "monitoring-values.yaml",
    }[missing]  # fmt: skip
    done = template("helm3", values, apis=tuple(api for api in API_VERSIONS if api != missing))

    assert done.returncode != 0
    assert f"the cluster has no {missing}" in done.stderr


def test_kinds_that_nobody_asked_for_are_not_made() -> None:
    made = {item["kind"] for item in objects(CHART / "ci" / "deployment-values.yaml")}

    assert made == {"ConfigMap", "Deployment", "Job", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"}


def test_a_new_version_of_the_chart_changes_no_pod() -> None:
    """KubeRay compares whole pod templates: a label with a version would cost a second cluster."""
    for values in FEATURES:
        for item in kind(objects(values), "RayService"):
            assert "helm.sh/chart" not in yaml.safe_dump(item["spec"])
            assert "app.kubernetes.io/version" not in yaml.safe_dump(item["spec"])


def test_the_notes_are_a_cheat_sheet_of_commands() -> None:
    done = template_of("helm3", MINIMAL, extra=("--show-only", "templates/NOTES.txt"))
    assert done.returncode != 0  # Helm shows notes on install only
    notes = (CHART / "templates" / "NOTES.txt").read_text(encoding="utf-8")

    assert all(command in notes for command in ("helm test", "kubectl", "weir breaker status", "weir verify"))
