"""More values that the chart must refuse: what has no room, no model, no folder or no account. As `refused_values`."""

from typing import Any

from tests.helm.refused_values import KEDA, TLS

ASK = {"enabled": True, "keysSecret": {"name": "keys"}}
COMBINED: list[tuple[dict[str, Any], list[str]]] = [
    ({"ask": ASK}, ["ask.port=8000", "mode=rayservice"]),
    ({"mode": "deployment", "ask": {"enabled": True}}, ["ask.keysSecret.name"]),
    ({"mode": "deployment", "ask": {**ASK, "ingress": {"enabled": True}}}, ["ask.ingress.host"]),
    ({"mode": "deployment", "ask": {"ingress": {"enabled": True, "host": "a"}}}, ["ask.ingress.enabled=true"]),
    ({"settings": {"ask": {"enabled": True}}}, ["/settings/ask"]),
    # A login in an address would stand in the pods' environment and in ConfigMaps.
    ({"telemetry": {"endpoint": "https://user:hunter2@collector:4317"}}, ["/telemetry/endpoint"]),
    (
        {
            "mode": "deployment",
            "keda": {**KEDA, "prometheus": {"serverAddress": "http://u:p@prometheus", "query": "q"}},
        },
        ["/keda/prometheus/serverAddress"],
    ),
    (
        {"ray": {"gcsFaultTolerance": {"enabled": True, "redisAddress": "redis://:hunter2@redis:6379"}}},
        ["/ray/gcsFaultTolerance/redisAddress"],
    ),
    (
        {"audit": {"enabled": True, "args": ["--topic", "t", "--into", "s3://a", "--on-application"]}},
        ["audit.args=--on-application", "audit.enabled=true"],
    ),
    ({"audit": {"enabled": True, "args": ["s3://history/"]}}, ["audit.args=s3://history/", "--into"]),
    (
        {"guard": {"gpusPerReplica": 0.6, "replicas": 3}, "ray": {"guardGroup": {"maxReplicas": 2}}},
        ["guard.replicas=3", "guard.gpusPerReplica=0.6", "ray.guardGroup.maxReplicas=2"],
    ),
    ({"guard": {"gpusPerReplica": 1.5, "gpusPerPod": 2}}, ["guard.gpusPerReplica=1.5"]),
    (
        {"guard": {"gpusPerReplica": 0.25, "replicas": 4}},
        [
            "guard.replicas=4",
            "guard.cpusPerReplica=2",
            "ray.guardGroup.maxReplicas=1 pods of guard.gpusPerPod=1, 4 CPUs",
        ],
    ),
    (
        {"guard": {"replicas": 2}, "ray": {"autoscaler": {"enabled": False}, "guardGroup": {"maxReplicas": 2}}},
        ["guard.replicas=2", "ray.guardGroup.replicas=1"],
    ),
    ({"settings": {"guard": {"enabled": False}}}, ["settings.guard.enabled=false", "settings.deltas.enabled=true"]),
    (
        {
            "settings": {"guard": {"enabled": False}, "deltas": {"enabled": True}},
            "ask": {"enabled": True, "keysSecret": {"name": "k"}},
        },
        ["settings.guard.enabled=false", "ask.stream=true"],
    ),
    (
        {
            "settings": {
                "guard": {"enabled": False},
                "deltas": {"enabled": True},
                "autoscaling": {"enabled": True},
                "shadow": {"enabled": True, "model": "other"},
            }
        },
        ["settings.autoscaling.enabled=true needs settings.guard.enabled=true", "settings.shadow.enabled=true needs"],
    ),
    ({"stream": {"consumers": 9}}, ["stream.consumers=9", "ray.streamGroup.maxReplicas=4 pods of 2 CPUs"]),
    (
        {"guard": {"replicas": 2}, "settings": {"autoscaling": {"enabled": True, "max_replicas": 1}}},
        ["guard.replicas=2", "settings.autoscaling.max_replicas=1"],
    ),
    (
        {
            "stream": {"consumers": 2},
            "settings": {"autoscaling": {"enabled": True, "max_replicas": 1, "max_consumers": 1}},
        },
        ["stream.consumers=2", "settings.autoscaling.max_consumers=1"],
    ),
    (
        {"mode": "deployment", "settings": {"shadow": {"enabled": True, "model": "other"}}},
        ["settings.shadow.replicas=1", "guard.gpusPerPod=1"],
    ),
    ({"settings": {"shadow": {"enabled": True}}}, ["settings.shadow.enabled=true", "settings.shadow.policy_file"]),
    (
        {"settings": {"shadow": {"enabled": True, "policy_file": "/etc/weir-policy/candidate.yaml"}}},
        ["settings.shadow.policy_file=/etc/weir-policy/candidate.yaml", "policy.existingConfigMap"],
    ),
    (
        {"settings": {"topics": {"shadow": "moderation.dlq"}}},
        ["settings.topics.shadow=moderation.dlq", "topics.deadLetters"],
    ),
    (
        {
            "settings": {"shadow": {"enabled": True, "model": "Qwen/Qwen3Guard-Gen-4B"}},
            "modelCache": {"download": {"enabled": True, "sha256": {"model.safetensors": "0" * 64}}},
            "ray": {"guardGroup": {"maxReplicas": 2}},
        },
        ["modelCache.download.enabled=true", "Qwen/Qwen3Guard-Gen-4B"],
    ),
    (
        {
            "kafka": {"tls": TLS, "sasl": {"mechanism": "OAUTHBEARER", "token": {"audience": "k"}}},
            "topics": {"apply": {"enabled": True}},
        },
        ["topics.apply.enabled=true", "kafka.sasl.token.audience=k", "serviceAccount.create=false"],
    ),
]
