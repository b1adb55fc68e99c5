"""Values that are right and that charts stumble over, laid over the minimal ones; each with the release's name."""

from __future__ import annotations

from typing import Any

JOBS: dict[str, Any] = {
    "topics": {"apply": {"enabled": True}},
    "audit": {"enabled": True, "args": ["s3://history/", "--into", "s3://audits/1"]},
}
EVERYTHING_WATCHED: dict[str, Any] = {
    "monitoring": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}, "dashboards": {"enabled": True}},
    "networkPolicy": {"monitoringNamespace": "on", "egress": {"enabled": True}},
}
AFFINITY = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "weir"}},
            },
        ]
    }
}
FIELDS: dict[str, Any] = {
    "affinity": AFFINITY,
    "runtimeClassName": "123",
    "priorityClassName": "on",
    "nodeSelector": {"no": "yes", "gpu": "1"},
    "tolerations": [{"key": "null", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3000000}],
    "podLabels": {"sidecar.istio.io/inject": "false", "cost-center": "0123", "app.kubernetes.io/part-of": "others"},
    "podAnnotations": {"a": "yes", "b": "1e3"},
    "volumes": [
        {"name": "input", "persistentVolumeClaim": {"claimName": "chat-logs"}},
        {"name": "ca", "configMap": {"name": "on"}},
    ],
    "volumeMounts": [
        {"name": "input", "mountPath": "/input", "readOnly": True},
        {"name": "ca", "mountPath": "/etc/ssl/extra", "subPath": "ca.crt"},
    ],
}


def on_every_pod(fields: dict[str, Any]) -> dict[str, Any]:
    """The values that give these fields to every kind of pod."""
    return {
        "ray": {"head": fields, "streamGroup": fields, "guardGroup": fields},
        "deployment": fields,
        "audit": {**JOBS["audit"], **fields},
        "topics": {"apply": {"enabled": True, **fields}},
        "check": fields,
    }


SASL = {
    "tls": {
        "enabled": True,
        "caSecret": {"name": "123", "key": "yes"},
        "clientSecret": {"name": "0x1f", "certKey": "1", "keyKey": "no"},
    },
    "sasl": {"mechanism": "SCRAM-SHA-512", "username": "007", "passwordSecret": {"name": "1e3", "key": "null"}},
}
HOSTILE: dict[str, tuple[str, dict[str, Any]]] = {
    "a release that is a number": ("12345", JOBS),
    "a release that is a word of YAML": ("on", JOBS),
    "a release with dots": ("a.b.c", JOBS),
    "a release of digits and e": ("1e5", JOBS),
    "the longest release": ("r" * 53, JOBS),
    "a name that is a word of YAML": ("weir", {**JOBS, "fullnameOverride": "null"}),
    "labels of the organisation": (
        "weir",
        {
            **JOBS,
            **EVERYTHING_WATCHED,
            "commonLabels": {
                "app.kubernetes.io/part-of": "trust-platform",
                "app.kubernetes.io/version": "1.10",
                "team": "1",
                "on": "off",
            },
        },
    ),
    "labels of every kind of pod": ("weir", {**on_every_pod(FIELDS), "commonLabels": {"team": "null"}}),
    "names and keys of secrets": ("weir", {**JOBS, "kafka": SASL}),
    "telemetry's secret": (
        "weir",
        {"telemetry": {"endpoint": "http://c:4317", "headersSecret": {"name": "1", "key": "on"}}},
    ),
    "environment that the chart has too": (
        "weir",
        {
            **JOBS,
            "modelCache": {
                "download": {
                    "enabled": True,
                    "sha256": {"model.safetensors": "0" * 64},
                    "tokenSecret": {"name": "1", "key": "1"},
                }
            },
            "telemetry": {"endpoint": "http://c:4317"},
            "extraEnv": [
                {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "deployment.environment=prod"},
                {"name": "HF_HOME", "value": "/models/hf"},
                {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "on", "key": "1"}}},
                {"name": "RAY_LOG_TO_STDERR", "value": "0"},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "PROXY", "valueFrom": {"configMapKeyRef": {"name": "proxy", "key": "url", "optional": True}}},
                {"name": "NUMBER", "value": "0123"},
            ],
        },
    ),
    "large numbers": (
        "weir",
        {
            **on_every_pod({}),
            "terminationGracePeriodSeconds": 2592000,
            "audit": {**JOBS["audit"], "activeDeadlineSeconds": 10000000},
            "ray": {"deletionDelaySeconds": 1000000, "autoscaler": {"idleTimeoutSeconds": 1000000}},
        },
    ),
    "quantities that are numbers": (
        "weir",
        {
            "ray": {
                "guardGroup": {
                    "resources": {"requests": {"cpu": 4, "memory": 17179869184}, "limits": {"memory": 17179869184}}
                }
            },
            "modelCache": {"size": 21474836480},
        },
    ),
    "OpenShift's own users": (
        "weir",
        {
            **JOBS,
            "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None, "fsGroupChangePolicy": None},
        },
    ),
    "a policy with markers of YAML": ("weir", {**JOBS, "policy": {"content": '---\nname: p\nversion: "1"\n...\n'}}),
    "plain pods": (
        "123",
        {
            **on_every_pod(FIELDS),
            "mode": "deployment",
            "kafka": SASL,
            "keda": {"enabled": True, "lagThreshold": 1000000},
        },
    ),
    "a schedule": ("on", {"audit": {**JOBS["audit"], "schedule": "0 0 * * *", "timeZone": "Etc/UTC"}}),
    "Strimzi": (
        "123",
        {
            "strimzi": {
                "cluster": "123",
                "namespace": "kafka",
                "topics": {"enabled": True, "config": {"retention.ms": 2592000000}},
            }
        },
    ),
}
