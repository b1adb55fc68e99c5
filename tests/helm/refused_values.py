"""Values that the chart must refuse, each with what the refusal has to name. Laid over the minimal values."""

from typing import Any

COMMIT = "fada3b2f655b89601929198343c94cd2f64d93cf"
SCRAM = {"mechanism": "SCRAM-SHA-512", "username": "weir", "passwordSecret": {"name": "login"}}
TLS = {"enabled": True}
USER = {"cluster": "main", "user": {"enabled": True, "authentication": "scram-sha-512"}}
KEDA = {"enabled": True, "lagThreshold": 100}

# Decisions taken back: what a user sees who has not taken them.
UNDECIDED: list[tuple[dict[str, Any], list[str]]] = [
    ({"mode": ""}, ["mode must be chosen"]),
    ({"image": {"repository": ""}}, ["image.repository must be chosen"]),
    ({"kafka": {"bootstrapServers": ""}}, ["kafka.bootstrapServers must be chosen"]),
    ({"topics": {"events": []}}, ["topics.events must be chosen"]),
    ({"topics": {"verdicts": ""}}, ["topics.verdicts must be chosen"]),
    ({"topics": {"deadLetters": ""}}, ["topics.deadLetters must be chosen"]),
    ({"guard": {"model": ""}}, ["guard.model must be chosen"]),
    ({"guard": {"revision": ""}}, ["guard.revision must be chosen", "Qwen/Qwen3Guard-Gen-0.6B"]),
    ({"strimzi": {"topics": {"enabled": True}}}, ["strimzi.cluster must be chosen", "strimzi.topics.enabled=true"]),
    ({"strimzi": {"cluster": "main", "user": {"enabled": True}}}, ["strimzi.user.authentication must be chosen"]),
    ({"mode": "deployment", "keda": {"enabled": True}}, ["keda.lagThreshold must be chosen"]),
    ({"audit": {"enabled": True}}, ["audit.args must be chosen"]),
    (
        {"ray": {"upgradeStrategy": "NewClusterWithIncrementalUpgrade"}},
        ["ray.incrementalUpgrade.gatewayClassName must be chosen"],
    ),
]
# Keys that are misspelt or in the wrong place, at every level, and values of the wrong kind.
MISSPELT: list[tuple[dict[str, Any], list[str]]] = [
    ({"modes": "rayservice"}, ["modes"]),
    ({"Image": {"tag": "1"}}, ["Image"]),
    ({"image": {"repo": "x"}}, ["/image", "repo"]),
    ({"image": {"pullPolicy": "always"}}, ["/image/pullPolicy", "Always"]),
    ({"image": {"digest": "sha256:12"}}, ["/image/digest"]),
    ({"kafka": {"bootstrap_servers": "k:9092"}}, ["/kafka", "bootstrap_servers"]),
    ({"kafka": {"bootstrapServers": "kafka"}}, ["/kafka/bootstrapServers"]),
    ({"kafka": {"tls": {"enable": True}}}, ["/kafka/tls", "enable"]),
    ({"kafka": {"tls": {"caSecret": "kafka-ca"}}}, ["/kafka/tls/caSecret"]),
    ({"kafka": {"sasl": {"mechanism": "SCRAM"}}}, ["/kafka/sasl/mechanism", "SCRAM-SHA-512"]),
    ({"kafka": {"sasl": {"password": "hunter2"}}}, ["/kafka/sasl", "password"]),
    ({"topics": {"dead_letters": "x"}}, ["/topics", "dead_letters"]),
    ({"topics": {"events": "chat.events"}}, ["/topics/events"]),
    ({"topics": {"events": ["chat events"]}}, ["/topics/events/0"]),
    ({"topics": {"events": ["a", "a"]}}, ["/topics/events"]),
    ({"topics": {"apply": {"replicas": 3}}}, ["/topics/apply", "replicas"]),
    ({"guard": {"revision": "main"}}, ["/guard/revision"]),
    ({"guard": {"gpus": 1}}, ["/guard", "gpus"]),
    ({"guard": {"replicas": 0}}, ["/guard/replicas"]),
    ({"guard": {"replicas": "two"}}, ["/guard/replicas"]),
    ({"stream": {"consumers": 0}}, ["/stream/consumers"]),
    ({"settings": {"limit": {}}}, ["/settings", "limit"]),
    ({"settings": {"limits": {"in_flight": 3}}}, ["/settings/limits", "in_flight"]),
    ({"settings": {"delivery": {"mode": "exactly-once"}}}, ["/settings/delivery/mode", "exactly_once"]),
    ({"settings": {"delivery": {"chunk_size": 0}}}, ["/settings/delivery/chunk_size"]),
    ({"settings": {"kafka": {"acks": "1"}}}, ["/settings/kafka", "acks"]),
    ({"settings": {"kafka": {"sasl_password": "hunter2"}}}, ["/settings/kafka", "sasl_password"]),
    ({"settings": {"guard": {"model": "other"}}}, ["/settings/guard", "model"]),
    ({"settings": {"guard": {"dtype": "bf16"}}}, ["/settings/guard/dtype", "bfloat16"]),
    ({"settings": {"breaker": {"failure_ratio": 2}}}, ["/settings/breaker/failure_ratio"]),
    ({"settings": {"trust_remote_code": True}}, ["/settings", "trust_remote_code"]),
    ({"modelCache": {"type": "pvc"}}, ["/modelCache/type", "persistentVolumeClaim"]),
    ({"modelCache": {"download": {"sha256": {"model.safetensors": "abc"}}}}, ["/modelCache/download/sha256"]),
    ({"ray": {"version": "latest"}}, ["/ray/version"]),
    ({"ray": {"auth": "none"}}, ["/ray/auth", "disabled"]),
    ({"ray": {"upgradeStrategy": "Rolling"}}, ["/ray/upgradeStrategy", "NewCluster"]),
    ({"ray": {"gpuGroup": {}}}, ["/ray", "gpuGroup"]),
    ({"ray": {"guardGroup": {"resources": {"limit": {}}}}}, ["/ray/guardGroup/resources", "limit"]),
    ({"ray": {"guardGroup": {"tolerations": [{"efect": "NoSchedule"}]}}}, ["/ray/guardGroup/tolerations/0", "efect"]),
    (
        {"ray": {"streamGroup": {"topologySpreadConstraints": [{"maxSkew": 1}]}}},
        ["/ray/streamGroup/topologySpreadConstraints/0", "topologyKey"],
    ),
    ({"keda": {"minReplica": 1}}, ["/keda", "minReplica"]),
    ({"telemetry": {"endpoint": "collector:4317"}}, ["/telemetry/endpoint"]),
    ({"telemetry": {"protocol": "http"}}, ["/telemetry/protocol", "http/protobuf"]),
    ({"telemetry": {"sampleRatio": 2}}, ["/telemetry/sampleRatio"]),
    ({"networkPolicy": {"egress": {"ports": [0]}}}, ["/networkPolicy/egress/ports/0"]),
    ({"extraEnv": [{"name": "WEIR_KAFKA__ACKS", "value": "1"}]}, ["/extraEnv/0/name"]),
    ({"fullnameOverride": "9lives"}, ["/fullnameOverride"]),
    ({"fullnameOverride": "a" * 48}, ["/fullnameOverride"]),
]
# Pairs that contradict each other: both have to be named.
CONTRADICTORY: list[tuple[dict[str, Any], list[str]]] = [
    ({"topics": {"verdicts": "chat.events"}}, ["topics.verdicts=chat.events", "topics.events"]),
    ({"topics": {"deadLetters": "chat.events"}}, ["topics.deadLetters=chat.events", "topics.events"]),
    (
        {"topics": {"deadLetters": "moderation.verdicts"}},
        ["topics.verdicts=moderation.verdicts", "topics.deadLetters="],
    ),
    ({"topics": {"routed": ["moderation.dlq"]}}, ["topics.routed=moderation.dlq", "topics.deadLetters"]),
    (
        {"topics": {"apply": {"enabled": True}}, "strimzi": {"cluster": "main", "topics": {"enabled": True}}},
        ["topics.apply.enabled=true", "strimzi.topics.enabled=true"],
    ),
    (
        {"topics": {"apply": {"enabled": True}}, "strimzi": USER, "kafka": {"sasl": {"mechanism": "SCRAM-SHA-512"}}},
        ["topics.apply.enabled=true", "strimzi.user.enabled=true"],
    ),
    (
        {"stream": {"consumers": 13}, "topics": {"apply": {"enabled": True}}},
        ["stream.consumers=13", "topics.apply.partitions=12"],
    ),
    (
        {"stream": {"consumers": 13}, "strimzi": {"cluster": "main", "topics": {"enabled": True}}},
        ["stream.consumers=13", "strimzi.topics.partitions=12"],
    ),
    ({"kafka": {"tls": {"caSecret": {"name": "ca"}}}}, ["kafka.tls.caSecret.name=ca", "kafka.tls.enabled=false"]),
    ({"kafka": {"tls": {"clientSecret": {"name": "c"}}}}, ["kafka.tls.clientSecret.name=c", "kafka.tls.enabled=false"]),
    (
        {"kafka": {"tls": TLS, "sasl": {"mechanism": "SCRAM-SHA-256"}}},
        ["SCRAM-SHA-256", "kafka.sasl.passwordSecret.name"],
    ),
    (
        {"kafka": {"sasl": {**SCRAM, "mechanism": "PLAIN"}}},
        ["kafka.sasl.mechanism=PLAIN", "kafka.tls.enabled=false"],
    ),
    (
        {"kafka": {"sasl": {"mechanism": "OAUTHBEARER", "token": {"audience": "kafka"}}}},
        ["kafka.sasl.mechanism=OAUTHBEARER", "kafka.tls.enabled=false"],
    ),
    ({"kafka": {"tls": TLS, "sasl": {"mechanism": "OAUTHBEARER"}}}, ["kafka.sasl.token.audience", "secretName"]),
    (
        {"kafka": {"tls": TLS, "sasl": {"mechanism": "OAUTHBEARER", "token": {"audience": "k", "secretName": "t"}}}},
        ["kafka.sasl.token.audience=k", "kafka.sasl.token.secretName=t"],
    ),
    ({"kafka": {"sasl": {"token": {"audience": "k"}}}}, ["kafka.sasl.token", "kafka.sasl.mechanism=none"]),
    ({"kafka": {"sasl": {"username": "u"}}}, ["kafka.sasl.username", "kafka.sasl.mechanism=none"]),
    ({"strimzi": USER}, ["strimzi.user.authentication=scram-sha-512", "kafka.sasl.mechanism=SCRAM-SHA-512"]),
    (
        {"strimzi": {"cluster": "main", "user": {"enabled": True, "authentication": "tls"}}},
        ["strimzi.user.authentication=tls", "kafka.tls.enabled=true"],
    ),
    (
        {
            "kafka": {"tls": TLS, "sasl": SCRAM},
            "strimzi": {"cluster": "main", "user": {"enabled": True, "authentication": "tls"}},
        },
        ["strimzi.user.authentication=tls", "kafka.sasl.mechanism=SCRAM-SHA-512"],
    ),
    ({"kafka": {"sasl": SCRAM}, "strimzi": USER}, ["kafka.sasl.username=weir", "strimzi.user.enabled=true"]),
    (
        {"kafka": {"sasl": {"mechanism": "SCRAM-SHA-512"}}, "strimzi": {**USER, "namespace": "kafka"}},
        ["strimzi.namespace=kafka", "kafka.sasl.passwordSecret.name"],
    ),
    (
        {"guard": {"model": "demo"}, "modelCache": {"download": {"enabled": True}}},
        ["guard.model=demo", "modelCache.download.enabled=true"],
    ),
    (
        {"guard": {"revision": "sha256:0123456789abcdef"}, "modelCache": {"download": {"enabled": True}}},
        ["modelCache.download.enabled=true", "guard.revision=sha256:0123456789abcdef"],
    ),
    (
        {"modelCache": {"download": {"enabled": True}}},
        ["modelCache.download.enabled=true", "modelCache.download.sha256"],
    ),
    (
        {"guard": {"model": "/models/guard", "revision": COMMIT}},
        ["guard.model=/models/guard", f"guard.revision={COMMIT}"],
    ),
    ({"guard": {"revision": "sha256:0123456789abcdef"}}, ["guard.model=Qwen/", "guard.revision=sha256:"]),
    ({"modelCache": {"offline": True}}, ["modelCache.offline=true", "modelCache.type=emptyDir"]),
    (
        {"modelCache": {"offline": True, "download": {"enabled": True}}},
        ["modelCache.offline=true", "modelCache.download.enabled=true"],
    ),
    ({"modelCache": {"existingClaim": "c"}}, ["modelCache.existingClaim=c", "modelCache.type=emptyDir"]),
    (
        {"modelCache": {"type": "persistentVolumeClaim", "existingClaim": "c", "storageClassName": "s"}},
        ["modelCache.existingClaim=c", "modelCache.storageClassName=s"],
    ),
    ({"guard": {"gpusPerPod": 0}}, ["guard.gpusPerReplica=1", "guard.gpusPerPod=0"]),
    ({"guard": {"gpusPerReplica": 0}}, ["guard.gpusPerPod=1", "guard.gpusPerReplica=0"]),
    (
        {"settings": {"guard": {"engine": "remote", "remote": {"urls": ["http://vllm:8000"]}}}},
        ["guard.gpusPerPod=1 with settings.guard.engine=remote"],
    ),
    (
        {"guard": {"gpusPerPod": 0, "gpusPerReplica": 0}, "settings": {"guard": {"device": "cuda:0"}}},
        ["settings.guard.device=cuda:0", "guard.gpusPerPod=0"],
    ),
    ({"guard": {"replicas": 3}}, ["guard.replicas=3", "ray.guardGroup.maxReplicas=1"]),
    ({"policy": {"content": "a", "existingConfigMap": "b"}}, ["policy.content", "policy.existingConfigMap=b"]),
    (
        {"terminationGracePeriodSeconds": 30},
        ["terminationGracePeriodSeconds=30", "settings.delivery.drain_timeout_s=20"],
    ),
    ({"serviceAccount": {"create": False}}, ["serviceAccount.create=false", "serviceAccount.name"]),
    ({"telemetry": {"headersSecret": {"name": "h"}}}, ["telemetry.headersSecret.name=h", "telemetry.endpoint"]),
    ({"keda": KEDA}, ["keda.enabled=true", "mode=rayservice"]),
    ({"mode": "deployment", "keda": {**KEDA, "minReplicas": 5}}, ["keda.minReplicas=5", "keda.maxReplicas=4"]),
    (
        {"mode": "deployment", "keda": {**KEDA, "prometheus": {"serverAddress": "http://p"}}},
        ["keda.prometheus.serverAddress=http://p", "keda.prometheus.query="],
    ),
    (
        {
            "mode": "deployment",
            "keda": KEDA,
            "kafka": {"tls": TLS, "sasl": {"mechanism": "OAUTHBEARER", "token": {"audience": "k"}}},
        },
        ["keda.enabled=true", "kafka.sasl.mechanism=OAUTHBEARER"],
    ),
    ({"audit": {"schedule": "0 1 * * *"}}, ["audit.schedule=0 1 * * *", "audit.enabled=false"]),
    (
        {"networkPolicy": {"enabled": False, "monitoringNamespace": "m"}},
        ["networkPolicy.monitoringNamespace", "networkPolicy.enabled=false"],
    ),
    (
        {"monitoring": {"podMonitor": {"enabled": True}}},
        ["monitoring.podMonitor.enabled=true", "networkPolicy.monitoringNamespace"],
    ),
    (
        {"mode": "deployment", "monitoring": {"podMonitor": {"enabled": True}}},
        ["monitoring.podMonitor.enabled=true", "mode=deployment"],
    ),
    ({"ray": {"guardGroup": {"minReplicas": 2}}}, ["ray.guardGroup.minReplicas=2", "ray.guardGroup.maxReplicas=1"]),
    ({"guard": {"cpusPerReplica": 5}}, ["guard.cpusPerReplica=5", "4 CPUs of ray.guardGroup.resources"]),
    (
        {"ray": {"streamGroup": {"resources": {"requests": {"cpu": "900m"}}}}, "stream": {"cpusPerConsumer": 1.5}},
        ["stream.cpusPerConsumer=1.5", "1 CPUs of ray.streamGroup.resources"],
    ),
    ({"ray": {"streamGroup": {"replicas": 9}}}, ["ray.streamGroup.replicas=9", "ray.streamGroup.maxReplicas=4"]),
    (
        {
            "ray": {
                "upgradeStrategy": "NewClusterWithIncrementalUpgrade",
                "incrementalUpgrade": {"gatewayClassName": "g"},
                "autoscaler": {"enabled": False},
            }
        },
        ["ray.upgradeStrategy=NewClusterWithIncrementalUpgrade", "ray.autoscaler.enabled=true"],
    ),
    ({"ray": {"gcsFaultTolerance": {"enabled": True}}}, ["ray.gcsFaultTolerance.enabled=true", "redisAddress="]),
    (
        {"ray": {"gcsFaultTolerance": {"redisAddress": "r:1"}}},
        ["ray.gcsFaultTolerance.enabled=false", "redisAddress=r:1"],
    ),
    (
        {"settings": {"autoscaling": {"enabled": True}}},
        ["settings.autoscaling.max_replicas=8", "guardGroup.maxReplicas=1"],
    ),
    (
        {"settings": {"shadow": {"enabled": True, "model": "other"}}},
        ["settings.shadow.replicas=1 beside 1 guard replicas", "guardGroup.maxReplicas=1"],
    ),
    (
        {
            "settings": {"autoscaling": {"enabled": True, "max_replicas": 1}},
            "ray": {"autoscaler": {"enabled": False}},
        },
        ["settings.autoscaling.enabled=true", "ray.autoscaler.enabled=true"],
    ),
    (
        {"mode": "deployment", "settings": {"autoscaling": {"enabled": True}}},
        ["settings.autoscaling.enabled=true", "mode=rayservice"],
    ),
    ({"mode": "deployment", "guard": {"replicas": 2}}, ["guard.replicas=2", "mode=deployment"]),
    (
        {"mode": "deployment", "deployment": {"replicas": 2}, "settings": {"kafka": {"group_instance_id": "a"}}},
        ["settings.kafka.group_instance_id=a", "deployment.replicas=2"],
    ),
    ({"commonLabels": {"app.kubernetes.io/name": "x"}}, ["commonLabels.app.kubernetes.io/name"]),
    ({"commonLabels": {"app.kubernetes.io/instance": "x"}}, ["commonLabels.app.kubernetes.io/instance"]),
    ({"commonLabels": {"ray.io/cluster": "x"}}, ["commonLabels.ray.io/cluster"]),
    ({"ray": {"guardGroup": {"podLabels": {"app.kubernetes.io/component": "x"}}}}, ["ray.guardGroup.podLabels.app"]),
    ({"check": {"volumes": [{"name": "tmp", "emptyDir": {}}]}}, ["check.volumes: tmp"]),
    ({"audit": {"volumeMounts": [{"name": "x", "mountPath": "/tmp/"}]}}, ["audit.volumeMounts: /tmp/"]),
    ({"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, ["extraEnv has A twice"]),
    ({"networkPolicy": {"operatorNamespace": ""}}, ["networkPolicy.operatorNamespace must be chosen"]),
    ({"enabled": False}, ["enabled=false"]),
]
