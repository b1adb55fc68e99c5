"""More values that the chart must refuse: what has no room, no model, no folder or no account. As `refused_values`."""

from typing import Any

from tests.helm.refused_values import KEDA, TLS

TURNS = {"deltas": {"enabled": True}}
ASK = {"enabled": True, "keysSecret": {"name": "keys"}}
COMBINED: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"settings": {**TURNS, "stream_guard": {"replicas": 5}}},
        ["settings.stream_guard.replicas=5", "do not fit into ray.guardGroup.maxReplicas=1 pods", "4 CPUs"],
    ),
    (
        {"settings": {**TURNS, "stream_guard": {"replicas": 3}}},
        ["settings.stream_guard.replicas=3", "beside 1 guard replicas of guard.gpusPerReplica=1"],
    ),
    (
        {"settings": {**TURNS, "stream_guard": {"gpus_per_replica": 1}}},
        ["settings.stream_guard.gpus_per_replica=1", "beside 1 guard replicas"],
    ),
    (
        {"mode": "deployment", "settings": {**TURNS, "stream_guard": {"gpus_per_replica": 1}}},
        ["settings.stream_guard.gpus_per_replica=1", "do not fit into a pod of guard.gpusPerPod=1"],
    ),
    (
        {"settings": {**TURNS, "stream_guard": {"gpus_per_replica": 1.5}}},
        ["settings.stream_guard.gpus_per_replica=1.5: Ray gives a share", "do not fit into ray.guardGroup"],
    ),
    (
        {
            "settings": {**TURNS, "stream_guard": {"gpus_per_replica": 0.25, "replicas": 2}},
            "guard": {"gpusPerReplica": 0.5},
        },
        ["need settings.stream_guard.max_pages"],
    ),
    (
        {
            "settings": {**TURNS, "guard": {"enabled": False}, "stream_guard": {"device": "cuda"}},
            "modelCache": {"offline": True},
        },
        [
            "settings.stream_guard.device=cuda needs a GPU, and settings.stream_guard.gpus_per_replica=0",
            "settings.stream_guard.gpus_per_replica=0: the GPUs would idle",
            "settings.stream_guard.model=Qwen/Qwen3Guard-Stream-0.6B could come from nowhere",
        ],
    ),
    (
        {
            "topics": {"apply": {"enabled": True, "partitions": 2}},
            "settings": {"deltas": {"enabled": True, "consumers": 8}},
        },
        [
            "settings.deltas.consumers=8 is above topics.apply.partitions=2",
            "settings.deltas.consumers=8 of settings.deltas.cpus_per_consumer=1, beside 1 consumers",
            "ray.streamGroup.maxReplicas=4 pods of 2 CPUs",
        ],
    ),
    (
        {
            "modelCache": {"download": {"enabled": True, "sha256": {"model.safetensors": "0" * 64}}},
            "settings": TURNS,
        },
        ["not settings.stream_guard.revision=", "needs modelCache.download.streamSha256"],
    ),
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
