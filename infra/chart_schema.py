"""Writes the chart's `values.schema.json`, closed at every level; `make fmt` runs it, a test compares it.

Names, types and sentences come from `values.yaml`, settings from `workers.settings`; what neither can say
is in RULES.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from workers.settings.loading import Settings

CHART = Path(__file__).parents[1] / "helm" / "weir"
SCHEMA = CHART / "values.schema.json"

# Settings that the chart sets, by the value that they come from; None: not offered, with the reason beside it.
OWNED: dict[str, str | None] = {
    "kafka.bootstrap_servers": "kafka.bootstrapServers",
    "kafka.group_id": "kafka.groupId",
    "kafka.security_protocol": "kafka.tls.enabled and kafka.sasl.mechanism",
    "kafka.ssl_cafile": "kafka.tls.caSecret",
    "kafka.ssl_certfile": "kafka.tls.clientSecret",
    "kafka.ssl_keyfile": "kafka.tls.clientSecret",
    "kafka.ssl_check_hostname": "kafka.tls.checkHostname",
    "kafka.ssl_password": None,  # a secret; keys of Strimzi and cert-manager are not encrypted
    "kafka.sasl_mechanism": "kafka.sasl.mechanism",
    "kafka.sasl_username": "kafka.sasl.username",
    "kafka.sasl_password": None,  # a secret: the chart gives the file
    "kafka.sasl_password_file": "kafka.sasl.passwordSecret",
    "kafka.sasl_oauth_token_file": "kafka.sasl.token",
    "kafka.sasl_kerberos_service_name": None,  # a ticket has to be renewed beside the worker: an image of one's own
    "kafka.sasl_kerberos_domain_name": None,
    "topics.events": "topics.events",
    "topics.verdicts": "topics.verdicts",
    "topics.dead_letters": "topics.deadLetters",
    "guard.model": "guard.model",
    "guard.revision": "guard.revision",
    "guard.replicas": "guard.replicas",
    "guard.cpus_per_replica": "guard.cpusPerReplica",
    "guard.gpus_per_replica": "guard.gpusPerReplica",
    "policy.file": "policy.content and policy.existingConfigMap",
    "ask.enabled": "ask.enabled",
    "ask.host": "ask.enabled",
    "ask.port": "ask.port",
    "ask.keys_file": "ask.keysSecret",
    "telemetry.span_directory": None,  # pods come and go, and their files with them
    "serve.consumers": "stream.consumers",
    "serve.cpus_per_consumer": "stream.cpusPerConsumer",
}
_NAME = {"pattern": r"^$|^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"}
_TOPIC = r"[A-Za-z0-9._-]{1,249}"
_POSITIVE = {"minimum": 1}
_SUMS = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z0-9._-]+$"},
    "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
# Without a login, which has a secret of its own.
_ADDRESS = {"pattern": r"^$|^https?://[^/@\s]+(/\S*)?$"}
_REDIS = r"(rediss?://)?[^,:/@\s]+:[0-9]+"
_QUANTITY = {"type": ["string", "number"], "pattern": r"^[0-9.]+(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"}
_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
_RESOURCE_NAMES = {"cpu": _QUANTITY, "memory": _QUANTITY, "ephemeral-storage": _QUANTITY}
# Kubernetes' own: the API server looks at what is in it.
_THEIRS = {
    "type": "object",
    "additionalProperties": {"type": ["object", "array", "string", "number", "boolean", "null"]},
}
_SELECTED = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "key"],
    "properties": {"name": {"type": "string"}, "key": {"type": "string"}, "optional": {"type": "boolean"}},
}
DEFINITIONS: dict[str, Any] = {
    "strings": _STRINGS,
    "theirs": _THEIRS,
    "namedList": {"type": "array", "items": {**_THEIRS, "required": ["name"]}},
    "mounts": {"type": "array", "items": {**_THEIRS, "required": ["name", "mountPath"]}},
    "resources": {
        kind: {"type": "object", "additionalProperties": False, "properties": _RESOURCE_NAMES}
        for kind in ("requests", "limits")
    },
    "tolerations": {
        "key": {"type": "string"},
        "operator": {"enum": ["Exists", "Equal"]},
        "value": {"type": "string"},
        "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        "tolerationSeconds": {"type": "integer", "minimum": 0},
    },
    "topologySpreadConstraints": {
        "maxSkew": {"type": "integer", "minimum": 1},
        "minDomains": {"type": "integer", "minimum": 1},
        "topologyKey": {"type": "string"},
        "whenUnsatisfiable": {"enum": ["DoNotSchedule", "ScheduleAnyway"]},
        "labelSelector": {
            "type": "object",
            "additionalProperties": False,
            "required": ["matchLabels"],
            "properties": {"matchLabels": _STRINGS},
        },
        "nodeAffinityPolicy": {"enum": ["Honor", "Ignore"]},
        "nodeTaintsPolicy": {"enum": ["Honor", "Ignore"]},
    },
    "extraEnv": {
        "name": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "not": {"pattern": "^WEIR_"}},
        "value": {"type": "string"},
        "valueFrom": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {
                "secretKeyRef": _SELECTED,
                "configMapKeyRef": _SELECTED,
                "fieldRef": _THEIRS,
                "resourceFieldRef": _THEIRS,
            },
        },
    },
}
REQUIRED = {
    "topologySpreadConstraints": ["maxSkew", "topologyKey", "whenUnsatisfiable", "labelSelector"],
    "extraEnv": ["name"],
}
# By the last part of a value's path.
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"$ref": f"#/$defs/{name}"} for name in ("resources", "tolerations", "topologySpreadConstraints")},
    **{
        name: {"$ref": "#/$defs/strings"}
        for name in ("commonLabels", "labels", "annotations", "podAnnotations", "podLabels", "nodeSelector")
    },
    **{name: {"$ref": "#/$defs/theirs"} for name in ("global", "affinity", "podSecurityContext", "securityContext")},
    "volumes": {"$ref": "#/$defs/namedList"},
    "volumeMounts": {"$ref": "#/$defs/mounts"},
    "name": _NAME,
    "extraEnv": {"$ref": "#/$defs/extraEnv"},
}
# By path; wins over what the default shows.
RULES: dict[str, dict[str, Any]] = {
    "mode": {"enum": ["", "rayservice", "deployment"]},
    "fullnameOverride": {"pattern": "^$|^[a-z]([a-z0-9-]*[a-z0-9])?$", "maxLength": 47},
    "image.digest": {"pattern": "^$|^sha256:[0-9a-f]{64}$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.pullSecrets": {"items": {"type": "string", **_NAME}},
    "kafka.bootstrapServers": {"pattern": r"^$|^[^,:\s]+:[0-9]+(,\s*[^,:\s]+:[0-9]+)*$"},
    "kafka.groupId": {"minLength": 1},
    "kafka.sasl.mechanism": {"enum": ["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]},
    "kafka.sasl.token.secretName": _NAME,
    "kafka.sasl.token.expirationSeconds": {"minimum": 600},
    "topics.events": {"items": {"type": "string", "pattern": f"^{_TOPIC}$"}, "uniqueItems": True},
    "topics.verdicts": {"pattern": f"^$|^{_TOPIC}$"},
    "topics.deadLetters": {"pattern": f"^$|^{_TOPIC}$"},
    "topics.routed": {"items": {"type": "string", "pattern": f"^{_TOPIC}$"}, "uniqueItems": True},
    "topics.apply.partitions": _POSITIVE,
    "topics.apply.replication": _POSITIVE,
    "strimzi.topics.partitions": _POSITIVE,
    "strimzi.topics.replicas": _POSITIVE,
    "strimzi.topics.config": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    "strimzi.user.authentication": {"enum": ["", "scram-sha-512", "tls"]},
    "guard.revision": {"pattern": "^$|^[0-9a-f]{40}$|^sha256:[0-9a-f]{16}$"},
    "guard.replicas": _POSITIVE,
    "guard.cpusPerReplica": {"type": "number"},
    "guard.gpusPerReplica": {"type": "number"},
    "stream.consumers": _POSITIVE,
    "ask.port": {"minimum": 1024, "maximum": 65535},
    "ask.namespaces": {"items": {"type": "string", **_NAME}},
    "ask.ingress.host": {"pattern": r"^$|^[a-z0-9*]([a-z0-9.-]*[a-z0-9])?$"},
    "stream.cpusPerConsumer": {"type": "number"},
    "modelCache.type": {"enum": ["emptyDir", "persistentVolumeClaim"]},
    "modelCache.size": _QUANTITY,
    "modelCache.existingClaim": _NAME,
    "modelCache.accessModes": {
        "items": {"enum": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"]},
        "minItems": 1,
    },
    "modelCache.download.sha256": _SUMS,
    "modelCache.download.streamSha256": _SUMS,
    "ray.version": {"pattern": r"^2\.[0-9]+\.[0-9]+$"},
    "ray.auth": {"enum": ["token", "disabled"]},
    "ray.upgradeStrategy": {"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]},
    "ray.incrementalUpgrade.maxSurgePercent": {"maximum": 100},
    "ray.incrementalUpgrade.stepSizePercent": {"maximum": 100},
    "ray.incrementalUpgrade.intervalSeconds": _POSITIVE,
    "ray.autoscaler.upscalingMode": {"enum": ["Default", "Conservative"]},
    "deployment.replicas": {},
    "keda.maxReplicas": _POSITIVE,
    "keda.pollingInterval": _POSITIVE,
    "audit.args": {"items": {"type": "string"}},
    "audit.activeDeadlineSeconds": _POSITIVE,
    "telemetry.protocol": {"enum": ["grpc", "http/protobuf"]},
    "telemetry.endpoint": _ADDRESS,
    "keda.prometheus.serverAddress": _ADDRESS,
    "ray.gcsFaultTolerance.redisAddress": {"pattern": rf"^$|^{_REDIS}(,{_REDIS})*$"},
    "telemetry.sampleRatio": {"type": "number", "maximum": 1},
    "monitoring.podMonitor.interval": {"pattern": "^[0-9]+(ms|s|m)$"},
    "networkPolicy.operatorNamespace": _NAME,
    "networkPolicy.monitoringNamespace": _NAME,
    "networkPolicy.egress.ports": {"items": {"type": "integer", "minimum": 1, "maximum": 65535}},
    "podDisruptionBudget.maxUnavailable": _POSITIVE,
    "terminationGracePeriodSeconds": _POSITIVE,
}


def schema() -> dict[str, Any]:
    """The whole schema."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the Weir chart; written by infra/chart_schema.py",
        **_of(yaml.safe_load(text), "", sentences(text)),
        "$defs": {name: _definition(name, body) for name, body in DEFINITIONS.items()},
    }


def sentences(text: str) -> dict[str, str]:
    """What the `# --` comment above each value says, by the value's path."""
    found, parents, pending = {}, [], ""
    for line in text.splitlines():
        if comment := re.match(r"\s*# -- (.*)", line):
            pending = comment[1]
        elif key := re.match(r"( *)([A-Za-z0-9]+):", line):
            del parents[len(key[1]) // 2 :]
            parents.append(key[2])
            if pending:
                found[".".join(parents)] = pending
            pending = ""
    return found


def settings_schema() -> dict[str, Any]:
    """What `settings` takes: every setting that is not the chart's own, as the code has it."""
    sections = {}
    for section, field in Settings.model_fields.items():
        model: Any = field.annotation
        if properties := _settings_of(model, section):
            # Null is an empty section: `delivery:` with nothing behind it.
            sections[section] = {"type": ["object", "null"], "additionalProperties": False, "properties": properties}
    return {"type": "object", "additionalProperties": False, "properties": sections}


def _settings_of(model: Any, path: str) -> dict[str, Any]:
    """The settings of a section, those of the sections in it below them."""
    described, found = model.model_json_schema()["properties"], {}
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            below = _settings_of(field.annotation, f"{path}.{name}")
            found[name] = {"type": ["object", "null"], "additionalProperties": False, "properties": below}
        elif f"{path}.{name}" not in OWNED:
            found[name] = _plain(described[name])
    return found


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in body.items() if key not in ("title", "default", "anyOf", "format")}
    return (
        {**_plain(next(item for item in body["anyOf"] if item != {"type": "null"})), **kept}
        if "anyOf" in body
        else kept
    )


def _of(value: Any, path: str, said: dict[str, str]) -> dict[str, Any]:
    sentence = {"description": said[path]} if path in said else {}
    name = path.rpartition(".")[2]
    if path == "settings":
        return {**settings_schema(), **sentence}
    if name in KINDS and (name != "name" or path.endswith(("Secret.name", "serviceAccount.name"))):
        known = KINDS[name]
        return {**({"type": "string"} if name == "name" else {}), **known, **sentence}
    if isinstance(value, dict) and path not in RULES:
        inner = {key: _of(item, f"{path}.{key}".lstrip("."), said) for key, item in value.items()}
        return {"type": "object", "additionalProperties": False, **sentence, "properties": inner}
    return {**_type_of(value), **RULES.get(path, {}), **sentence}


def _type_of(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case float():
            return {"type": "number", "minimum": 0}
        case list():
            return {"type": "array"}
        case _:
            return {"type": "string"}


def _definition(name: str, body: dict[str, Any]) -> dict[str, Any]:
    if name in ("strings", "theirs", "namedList", "mounts"):
        return body
    closed = {"type": "object", "additionalProperties": False, "properties": body}
    if name == "resources":
        return closed
    return {"type": "array", "items": {**closed, **({"required": REQUIRED[name]} if name in REQUIRED else {})}}


def main() -> None:
    """Write the schema."""
    SCHEMA.write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
