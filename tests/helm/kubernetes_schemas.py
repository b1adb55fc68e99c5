"""JSON Schemas of Kubernetes' own kinds for kubeconform, made from the OpenAPI document in its module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cache import built_once
from tests.go_build import run_go

MODULE = "k8s.io/kubernetes@v1.36.3"
# As kubeconform's -schema-location takes it.
PATTERN = "{{ .ResourceKind }}{{ .KindSuffix }}.json"


def folder() -> Path:
    """Where the schemas are; made when missing. Raises UnavailableError."""
    return built_once(f"schemas-{MODULE.partition('@')[2]}", "all.json", _make).parent


def _make(into: Path) -> None:
    source = Path(json.loads(run_go("mod", "download", "-json", MODULE))["Dir"])
    document = json.loads((source / "api/openapi-spec/swagger.json").read_text(encoding="utf-8"))
    _write(document["definitions"], into)


def _write(definitions: dict[str, Any], into: Path) -> None:
    for definition in definitions.values():
        if "properties" in definition:
            definition["additionalProperties"] = False
        if definition.get("format") == "int-or-string":
            definition["type"] = ["string", "integer"]
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] = ["string", "number"]
    (into / "all.json").write_text(json.dumps({"definitions": definitions}), encoding="utf-8")
    for name, definition in definitions.items():
        for known in definition.get("x-kubernetes-group-version-kind", []):
            parts = [known["kind"].lower(), known["group"].partition(".")[0], known["version"]]
            (into / f"{'-'.join(filter(None, parts))}.json").write_text(
                json.dumps({"$ref": f"all.json#/definitions/{name}"}), encoding="utf-8"
            )
