{{/* What is refused, by name. All faults are said at once. Included by every object's file through `weir.refuse`. */}}

{{- define "weir.refuse" -}}
{{- include "weir.fill" (dict "into" .Values "from" (.Files.Get "files/defaults.yaml" | fromYaml)) -}}
{{- range $section, $given := .Values.settings -}}
{{- if kindIs "invalid" $given -}}{{- $_ := unset $.Values.settings $section -}}{{- end -}}
{{- end -}}
{{- $faults := concat (include "weir.undecided" . | fromYamlArray) (include "weir.impossible" . | fromYamlArray) (include "weir.impossibleInPods" . | fromYamlArray) (include "weir.overfull" . | fromYamlArray) (include "weir.impossibleOnCluster" . | fromYamlArray) -}}
{{- if $faults -}}
{{- fail (printf "\n\nweir: these values cannot work:\n- %s\n" (join "\n- " $faults)) -}}
{{- end -}}
{{- end -}}

{{/*
Helm takes an empty section (`resources:` with nothing behind it) for null, and takes away what the chart has there:
every path below it would be a nil pointer. As if it were not written; takes {into, from}. What users take keys out of by
null is left to them.
*/}}
{{- define "weir.fill" -}}
{{- $into := .into -}}
{{- range $key, $default := .from -}}
{{- $given := index $into $key -}}
{{- if kindIs "invalid" $given -}}
{{- $_ := set $into $key (deepCopy $default) -}}
{{- else if and (kindIs "map" $given) (kindIs "map" $default) (not (has $key (list "resources" "labels" "podSecurityContext" "securityContext"))) -}}
{{- include "weir.fill" (dict "into" $given "from" $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that objects are selected by, or that an operator gives. */}}
{{- define "weir.reservedLabel" -}}
{{- if or (has . (list "app.kubernetes.io/instance" "app.kubernetes.io/name" "app.kubernetes.io/component" "app.kubernetes.io/managed-by" "helm.sh/chart" "strimzi.io/cluster" "batch.kubernetes.io/job-name")) (hasPrefix "ray.io/" .) -}}true{{- end -}}
{{- end -}}

{{/* What pods are given beside the chart's own. */}}
{{- define "weir.impossibleInPods" -}}
{{- range $key, $_ := .Values.commonLabels }}
{{- if include "weir.reservedLabel" $key }}
- "commonLabels.{{ $key }}: the chart sets it, and selects by it or is known by it"
{{- end }}
{{- end }}
{{- $groups := dict "ray.head" .Values.ray.head "ray.streamGroup" .Values.ray.streamGroup "ray.guardGroup" .Values.ray.guardGroup "deployment" .Values.deployment "audit" .Values.audit "topics.apply" .Values.topics.apply "check" .Values.check }}
{{- range $name, $group := $groups }}
{{- range $key, $_ := $group.podLabels }}
{{- if include "weir.reservedLabel" $key }}
- "{{ $name }}.podLabels.{{ $key }}: the chart sets it, and selects by it or is known by it"
{{- end }}
{{- end }}
{{- range $group.volumes }}
{{- if has .name (list "tmp" "policy" "settings" "kafka" "models" "ask" "checksums" "shm") }}
- "{{ $name }}.volumes: {{ .name }} is one of the chart's own"
{{- end }}
{{- end }}
{{- range $group.volumeMounts }}
{{- if has (clean .mountPath) (list "/" "/tmp" "/etc/weir" "/etc/weir-policy" "/etc/weir-kafka" "/etc/weir-ask" "/etc/weir-model" "/models" "/dev/shm") }}
- "{{ $name }}.volumeMounts: {{ .mountPath }} is one of the chart's own"
{{- end }}
{{- end }}
{{- end }}
{{- $names := list }}
{{- range .Values.extraEnv }}
{{- if has .name $names }}
- "extraEnv has {{ .name }} twice"
{{- end }}
{{- if and (eq .name "JOB_NAME") $.Values.audit.enabled }}
- "extraEnv has JOB_NAME, which the audit's Job sets"
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- if not .Values.enabled }}
- "enabled=false: it is for the condition of a parent chart; alone, leave the chart out"
{{- end }}
{{- end -}}

{{/* Decisions that nobody but the user can make. */}}
{{- define "weir.undecided" -}}
{{- with .Values }}
{{- if not .mode }}
- "mode must be chosen: rayservice (KubeRay) or deployment (plain pods)"
{{- end }}
{{- if not .image.repository }}
- "image.repository must be chosen: infra/docker/README.md builds the image"
{{- end }}
{{- if not .kafka.bootstrapServers }}
- "kafka.bootstrapServers must be chosen"
{{- end }}
{{- if not .topics.events }}
- "topics.events must be chosen: the input topics"
{{- end }}
{{- if not .topics.verdicts }}
- "topics.verdicts must be chosen: the result topic"
{{- end }}
{{- if not .topics.deadLetters }}
- "topics.deadLetters must be chosen: the dead-letter topic"
{{- end }}
{{- if and (not .guard.model) (include "weir.judgesMessages" $) }}
- "guard.model must be chosen, e.g. Qwen/Qwen3Guard-Gen-0.6B"
{{- end }}
{{- if and .guard.model (ne .guard.model "demo") (not .guard.revision) }}
- "guard.revision must be chosen for guard.model={{ .guard.model }}: verdicts name the model that made them"
{{- end }}
{{- if and (or .strimzi.topics.enabled .strimzi.user.enabled) (not .strimzi.cluster) }}
- "strimzi.cluster must be chosen with strimzi.topics.enabled={{ .strimzi.topics.enabled }}, strimzi.user.enabled={{ .strimzi.user.enabled }}"
{{- end }}
{{- if and .strimzi.user.enabled (not .strimzi.user.authentication) }}
- "strimzi.user.authentication must be chosen with strimzi.user.enabled=true: scram-sha-512 or tls"
{{- end }}
{{- if and .keda.enabled (not .keda.lagThreshold) }}
- "keda.lagThreshold must be chosen with keda.enabled=true: records of lag that one pod is good for"
{{- end }}
{{- if and .ask.enabled (not .ask.keysSecret.name) }}
- "ask.keysSecret.name must be chosen with ask.enabled=true: without keys only the pod itself may ask"
{{- end }}
{{- if and .ask.ingress.enabled (not .ask.ingress.host) }}
- "ask.ingress.host must be chosen with ask.ingress.enabled=true"
{{- end }}
{{- if and .audit.enabled (not .audit.args) }}
- "audit.args must be chosen with audit.enabled=true: the arguments of weir audit run"
{{- end }}
{{- if and (eq .mode "rayservice") (eq .ray.upgradeStrategy "NewClusterWithIncrementalUpgrade") (not .ray.incrementalUpgrade.gatewayClassName) }}
- "ray.incrementalUpgrade.gatewayClassName must be chosen with ray.upgradeStrategy=NewClusterWithIncrementalUpgrade"
{{- end }}
{{- end }}
{{- end -}}

{{/* Pairs of values that contradict each other. */}}
{{- define "weir.impossible" -}}
{{- with .Values }}
{{- if and .ask.enabled (eq .mode "rayservice") (has (int .ask.port) (list 6379 8000 8080 8265 10001 52365)) }}
- "ask.port={{ .ask.port }} is one of Ray's own on the head, which answers in mode=rayservice; 8001 is free"
{{- end }}
{{- if and .ask.ingress.enabled (not .ask.enabled) }}
- "ask.ingress.enabled=true needs ask.enabled=true"
{{- end }}
{{- if has .topics.verdicts .topics.events }}
- "topics.verdicts={{ .topics.verdicts }} is also in topics.events"
{{- end }}
{{- if has .topics.deadLetters .topics.events }}
- "topics.deadLetters={{ .topics.deadLetters }} is also in topics.events"
{{- end }}
{{- if and .topics.verdicts (eq .topics.verdicts .topics.deadLetters) }}
- "topics.verdicts={{ .topics.verdicts }} equals topics.deadLetters={{ .topics.deadLetters }}"
{{- end }}
{{- range .topics.routed }}
{{- if or (has . $.Values.topics.events) (eq . $.Values.topics.deadLetters) }}
- "topics.routed={{ . }} is also in topics.events or topics.deadLetters"
{{- end }}
{{- end }}
{{- if and .topics.apply.enabled .strimzi.topics.enabled }}
- "topics.apply.enabled=true and strimzi.topics.enabled=true: topics have one owner"
{{- end }}
{{- if and .topics.apply.enabled .strimzi.user.enabled }}
- "topics.apply.enabled=true and strimzi.user.enabled=true: that user may not create topics, and is not there before the install"
{{- end }}
{{- if and .topics.apply.enabled .serviceAccount.create .kafka.sasl.token.audience }}
- "topics.apply.enabled=true and kafka.sasl.token.audience={{ .kafka.sasl.token.audience }} need serviceAccount.create=false: before the install the account is not there, and another's token is another user"
{{- end }}
{{- if and .strimzi.topics.enabled (gt (int .stream.consumers) (int .strimzi.topics.partitions)) }}
- "stream.consumers={{ .stream.consumers }} is above strimzi.topics.partitions={{ .strimzi.topics.partitions }}: some would have nothing to do"
{{- end }}
{{- if and .topics.apply.enabled (gt (int .stream.consumers) (int .topics.apply.partitions)) }}
- "stream.consumers={{ .stream.consumers }} is above topics.apply.partitions={{ .topics.apply.partitions }}: some would have nothing to do"
{{- end }}
{{- range $name, $made := dict "strimzi.topics" .strimzi.topics "topics.apply" .topics.apply }}
{{- if and $made.enabled (dig "deltas" "enabled" false $.Values.settings) (gt (dig "deltas" "consumers" 1 $.Values.settings | int) (int $made.partitions)) }}
- "settings.deltas.consumers={{ $.Values.settings.deltas.consumers }} is above {{ $name }}.partitions={{ $made.partitions }}: some would have nothing to do"
{{- end }}
{{- end }}
{{- if not .kafka.tls.enabled }}
{{- range $name, $secret := dict "caSecret" .kafka.tls.caSecret "clientSecret" .kafka.tls.clientSecret }}
{{- if $secret.name }}
- "kafka.tls.{{ $name }}.name={{ $secret.name }} has no effect with kafka.tls.enabled=false"
{{- end }}
{{- end }}
{{- end }}
{{- $sasl := .kafka.sasl }}
{{- if and (hasPrefix "SCRAM" $sasl.mechanism | or (eq $sasl.mechanism "PLAIN")) (not .strimzi.user.enabled) (not (and $sasl.username $sasl.passwordSecret.name)) }}
- "kafka.sasl.mechanism={{ $sasl.mechanism }} needs kafka.sasl.username and kafka.sasl.passwordSecret.name"
{{- end }}
{{- if and (eq $sasl.mechanism "PLAIN") (not .kafka.tls.enabled) }}
- "kafka.sasl.mechanism=PLAIN with kafka.tls.enabled=false would send the password in the clear"
{{- end }}
{{- if and (eq $sasl.mechanism "OAUTHBEARER") (not .kafka.tls.enabled) }}
- "kafka.sasl.mechanism=OAUTHBEARER with kafka.tls.enabled=false would send the token in the clear"
{{- end }}
{{- if eq $sasl.mechanism "OAUTHBEARER" }}
{{- if and $sasl.token.audience $sasl.token.secretName }}
- "kafka.sasl.token.audience={{ $sasl.token.audience }} and kafka.sasl.token.secretName={{ $sasl.token.secretName }}: one source of tokens"
{{- else if not (or $sasl.token.audience $sasl.token.secretName) }}
- "kafka.sasl.mechanism=OAUTHBEARER needs kafka.sasl.token.audience or kafka.sasl.token.secretName"
{{- end }}
{{- end }}
{{- if and (ne $sasl.mechanism "OAUTHBEARER") (or $sasl.token.audience $sasl.token.secretName) }}
- "kafka.sasl.token has no effect with kafka.sasl.mechanism={{ $sasl.mechanism | default "none" }}"
{{- end }}
{{- if and (has $sasl.mechanism (list "" "OAUTHBEARER")) (or $sasl.username $sasl.passwordSecret.name) }}
- "kafka.sasl.username and kafka.sasl.passwordSecret.name have no effect with kafka.sasl.mechanism={{ $sasl.mechanism | default "none" }}"
{{- end }}
{{- if .strimzi.user.enabled }}
{{- if and (eq .strimzi.user.authentication "scram-sha-512") (ne $sasl.mechanism "SCRAM-SHA-512") }}
- "strimzi.user.authentication=scram-sha-512 needs kafka.sasl.mechanism=SCRAM-SHA-512, not {{ $sasl.mechanism | default "none" }}"
{{- end }}
{{- if and (eq .strimzi.user.authentication "tls") (not .kafka.tls.enabled) }}
- "strimzi.user.authentication=tls needs kafka.tls.enabled=true"
{{- end }}
{{- if and (eq .strimzi.user.authentication "tls") $sasl.mechanism }}
- "strimzi.user.authentication=tls and kafka.sasl.mechanism={{ $sasl.mechanism }}: one way to log in"
{{- end }}
{{- if $sasl.username }}
- "kafka.sasl.username={{ $sasl.username }} and strimzi.user.enabled=true: the user has the release's name"
{{- end }}
{{- if and .strimzi.namespace (ne .strimzi.namespace $.Release.Namespace) (not (or .kafka.tls.clientSecret.name $sasl.passwordSecret.name)) }}
- "strimzi.namespace={{ .strimzi.namespace }} with strimzi.user.enabled=true needs kafka.sasl.passwordSecret.name or kafka.tls.clientSecret.name: secrets are not seen across namespaces, copy it"
{{- end }}
{{- end }}
{{- if and (eq .guard.model "demo") .modelCache.download.enabled }}
- "guard.model=demo and modelCache.download.enabled=true: the demo's model is in the image"
{{- end }}
{{- if and .guard.model (ne .guard.model "demo") (hasPrefix "/" .guard.model) .modelCache.download.enabled }}
- "guard.model={{ .guard.model }} and modelCache.download.enabled=true: a folder is not on the hub"
{{- end }}
{{- range include "weir.fetched" $ | fromYamlArray }}
{{- if not (regexMatch "^[0-9a-f]{40}$" .revision) }}
- "modelCache.download.enabled=true needs a commit of 40 hexadecimal digits, not {{ .setting }}.revision={{ .revision }}"
{{- end }}
{{- if not (index $.Values.modelCache.download .sums) }}
- "modelCache.download.enabled=true needs modelCache.download.{{ .sums }}, of {{ .setting }}.model"
{{- end }}
{{- end }}
{{- if and (hasPrefix "/" .guard.model) .guard.revision (not (hasPrefix "sha256:" .guard.revision)) }}
- "guard.model={{ .guard.model }} is a folder, so guard.revision={{ .guard.revision }} must be the sha256:… of its files"
{{- end }}
{{- if and (contains "/" .guard.model) (not (hasPrefix "/" .guard.model)) (hasPrefix "sha256:" .guard.revision) }}
- "guard.model={{ .guard.model }} is on the hub, so guard.revision={{ .guard.revision }} must be a commit"
{{- end }}
{{- if and .modelCache.offline .modelCache.download.enabled }}
- "modelCache.offline=true and modelCache.download.enabled=true: the download needs the hub (afterwards it is offline by itself)"
{{- end }}
{{- if and .modelCache.offline (eq .modelCache.type "emptyDir") (contains "/" .guard.model) (not (hasPrefix "/" .guard.model)) }}
- "modelCache.offline=true with modelCache.type=emptyDir: guard.model={{ .guard.model }} could come from nowhere"
{{- end }}
{{- $stream := include "weir.streamModelOfHub" $ }}
{{- if and .modelCache.offline (eq .modelCache.type "emptyDir") $stream }}
- "modelCache.offline=true with modelCache.type=emptyDir: settings.stream_guard.model={{ $stream }} could come from nowhere"
{{- end }}
{{- if not (include "weir.judgesMessages" $) }}
{{- if not (include "weir.judgesTurns" $) }}
- "settings.guard.enabled=false needs settings.deltas.enabled=true, or ask.enabled=true and ask.stream=true: nothing would be judged"
{{- end }}
{{- if and .ask.enabled (not .ask.stream) }}
- "settings.guard.enabled=false with ask.enabled=true needs ask.stream=true: nothing could be asked"
{{- end }}
{{- range $name, $is := dict "settings.autoscaling.enabled" (dig "autoscaling" "enabled" false .settings) "keda.enabled" .keda.enabled "settings.shadow.enabled" (dig "shadow" "enabled" false .settings) }}
{{- if $is }}
- "{{ $name }}=true needs settings.guard.enabled=true: it follows topics.events"
{{- end }}
{{- end }}
{{- end }}
{{- $shadow := .settings.shadow | default dict }}
{{- $candidate := $shadow.model | default (ternary .guard.model "" (not (empty $shadow.revision))) }}
{{- if and $shadow.enabled (eq .modelCache.type "emptyDir") (contains "/" $candidate) (not (hasPrefix "/" $candidate)) }}
{{- range $name, $is := dict "modelCache.offline" .modelCache.offline "modelCache.download.enabled" .modelCache.download.enabled }}
{{- if $is }}
- "{{ $name }}=true with modelCache.type=emptyDir: the candidate of settings.shadow, {{ $candidate }}, could come from nowhere"
{{- end }}
{{- end }}
{{- end }}
{{- if and $shadow.enabled (not (or $shadow.model $shadow.revision $shadow.policy_file)) }}
- "settings.shadow.enabled=true needs a candidate: settings.shadow.model, settings.shadow.revision or settings.shadow.policy_file"
{{- end }}
{{- if and (hasPrefix "/etc/weir-policy/" ($shadow.policy_file | default "")) (not .policy.existingConfigMap) (ne $shadow.policy_file "/etc/weir-policy/policy.yaml" | or (empty .policy.content)) }}
- "settings.shadow.policy_file={{ $shadow.policy_file }} needs policy.existingConfigMap: the file lies there"
{{- end }}
{{- if has (include "weir.shadowTopic" $) (concat .topics.events .topics.routed (list .topics.verdicts .topics.deadLetters)) }}
- "settings.topics.shadow={{ include "weir.shadowTopic" $ }} is also in topics.events, topics.verdicts, topics.deadLetters or topics.routed"
{{- end }}
{{- if and (eq .modelCache.type "emptyDir") .modelCache.existingClaim }}
- "modelCache.existingClaim={{ .modelCache.existingClaim }} has no effect with modelCache.type=emptyDir"
{{- end }}
{{- if and .modelCache.existingClaim .modelCache.storageClassName }}
- "modelCache.existingClaim={{ .modelCache.existingClaim }} and modelCache.storageClassName={{ .modelCache.storageClassName }}: the claim has a class"
{{- end }}
{{- if and .policy.content .policy.existingConfigMap }}
- "policy.content and policy.existingConfigMap={{ .policy.existingConfigMap }}: one policy"
{{- end }}
{{- if and .topics.apply.enabled .policy.existingConfigMap (not $.Release.IsUpgrade) (not (lookup "v1" "ConfigMap" $.Release.Namespace .policy.existingConfigMap)) (lookup "v1" "Namespace" "" $.Release.Namespace) }}
- "policy.existingConfigMap={{ .policy.existingConfigMap }} is not in namespace {{ $.Release.Namespace }}"
{{- end }}
{{- if le (int .terminationGracePeriodSeconds) (int (add 10 (dig "delivery" "drain_timeout_s" 20 .settings | int))) }}
- "terminationGracePeriodSeconds={{ .terminationGracePeriodSeconds }} is not above settings.delivery.drain_timeout_s={{ dig "delivery" "drain_timeout_s" 20 .settings }} and 10 s: a drain would be cut off"
{{- end }}
{{- if and (not .serviceAccount.create) (not .serviceAccount.name) }}
- "serviceAccount.create=false needs serviceAccount.name"
{{- end }}
{{- if and .telemetry.headersSecret.name (not .telemetry.endpoint) }}
- "telemetry.headersSecret.name={{ .telemetry.headersSecret.name }} has no effect without telemetry.endpoint"
{{- end }}
{{- if and .keda.enabled (gt (int .keda.minReplicas) (int .keda.maxReplicas)) }}
- "keda.minReplicas={{ .keda.minReplicas }} is above keda.maxReplicas={{ .keda.maxReplicas }}"
{{- end }}
{{- if ne (empty .keda.prometheus.serverAddress) (empty .keda.prometheus.query) }}
- "keda.prometheus.serverAddress={{ .keda.prometheus.serverAddress }} and keda.prometheus.query={{ .keda.prometheus.query }}: both or neither"
{{- end }}
{{- if and .keda.enabled (eq $sasl.mechanism "OAUTHBEARER") }}
- "keda.enabled=true with kafka.sasl.mechanism=OAUTHBEARER: KEDA's Kafka scaler cannot read our token"
{{- end }}
{{- if and .audit.enabled (has "--on-application" .audit.args) }}
- "audit.args=--on-application with audit.enabled=true: the Job is no part of the Ray cluster, it has an engine of its own"
{{- end }}
{{- if and .audit.enabled .audit.args (not (regexMatch "(^| )--(into|dry-run)( |=|$)" (join " " .audit.args))) }}
- "audit.args={{ join " " .audit.args }} lacks --into: the folder to write to"
{{- end }}
{{- if and .audit.schedule (not .audit.enabled) }}
- "audit.schedule={{ .audit.schedule }} has no effect with audit.enabled=false"
{{- end }}
{{- if and (or .networkPolicy.monitoringNamespace .networkPolicy.egress.enabled) (not .networkPolicy.enabled) }}
- "networkPolicy.monitoringNamespace and networkPolicy.egress.enabled have no effect with networkPolicy.enabled=false"
{{- end }}
{{- if and (eq .mode "rayservice") .networkPolicy.enabled (not .networkPolicy.operatorNamespace) }}
- "networkPolicy.operatorNamespace must be chosen with networkPolicy.enabled=true: any pod could call itself the operator"
{{- end }}
{{- if and .networkPolicy.enabled .monitoring.podMonitor.enabled (not .networkPolicy.monitoringNamespace) }}
- "monitoring.podMonitor.enabled=true with networkPolicy.enabled=true needs networkPolicy.monitoringNamespace: the scrape would be refused"
{{- end }}
{{- if eq .mode "rayservice" }}
{{- if .keda.enabled }}
- "keda.enabled=true needs mode=deployment, not mode=rayservice: Ray scales its own replicas by backlog"
{{- end }}
{{- range $name := list "streamGroup" "guardGroup" }}
{{- $group := index $.Values.ray $name }}
{{- if gt (int $group.minReplicas) (int $group.maxReplicas) }}
- "ray.{{ $name }}.minReplicas={{ $group.minReplicas }} is above ray.{{ $name }}.maxReplicas={{ $group.maxReplicas }}"
{{- else if or (lt (int $group.replicas) (int $group.minReplicas)) (gt (int $group.replicas) (int $group.maxReplicas)) }}
- "ray.{{ $name }}.replicas={{ $group.replicas }} is not between ray.{{ $name }}.minReplicas={{ $group.minReplicas }} and ray.{{ $name }}.maxReplicas={{ $group.maxReplicas }}"
{{- end }}
{{- end }}
{{- if and (eq .ray.upgradeStrategy "NewClusterWithIncrementalUpgrade") (not .ray.autoscaler.enabled) }}
- "ray.upgradeStrategy=NewClusterWithIncrementalUpgrade needs ray.autoscaler.enabled=true"
{{- end }}
{{- if ne .ray.gcsFaultTolerance.enabled (not (empty .ray.gcsFaultTolerance.redisAddress)) }}
- "ray.gcsFaultTolerance.enabled={{ .ray.gcsFaultTolerance.enabled }} and ray.gcsFaultTolerance.redisAddress={{ .ray.gcsFaultTolerance.redisAddress }}: both or neither"
{{- end }}
{{- end }}
{{- if eq .mode "deployment" }}
{{- if dig "autoscaling" "enabled" false .settings }}
- "settings.autoscaling.enabled=true needs mode=rayservice: pods of mode=deployment are scaled by KEDA"
{{- end }}
{{- if .monitoring.podMonitor.enabled }}
- "monitoring.podMonitor.enabled=true needs mode=rayservice: pods of mode=deployment have no metrics port, they send OTLP"
{{- end }}
{{- if ne (int .guard.replicas) 1 }}
- "guard.replicas={{ .guard.replicas }} has no effect with mode=deployment: use deployment.replicas"
{{- end }}
{{- if .ray.gcsFaultTolerance.enabled }}
- "ray.gcsFaultTolerance.enabled=true needs mode=rayservice"
{{- end }}
{{- if and (gt (int .deployment.replicas) 1) (dig "kafka" "group_instance_id" "" .settings) }}
- "settings.kafka.group_instance_id={{ .settings.kafka.group_instance_id }} with deployment.replicas={{ .deployment.replicas }}: the pods would throw each other out"
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Kinds that were asked for and that this cluster does not have. */}}
{{- define "weir.impossibleOnCluster" -}}
{{- $asked := list
  (list "mode=rayservice" (eq .Values.mode "rayservice") "ray.io/v1" "KubeRay")
  (list "strimzi.topics.enabled=true" .Values.strimzi.topics.enabled "kafka.strimzi.io/v1" "Strimzi 0.49 or later")
  (list "strimzi.user.enabled=true" .Values.strimzi.user.enabled "kafka.strimzi.io/v1" "Strimzi 0.49 or later")
  (list "keda.enabled=true" .Values.keda.enabled "keda.sh/v1alpha1" "KEDA")
  (list "monitoring.podMonitor.enabled=true" .Values.monitoring.podMonitor.enabled "monitoring.coreos.com/v1" "the Prometheus operator")
  (list "monitoring.rules.enabled=true" .Values.monitoring.rules.enabled "monitoring.coreos.com/v1" "the Prometheus operator") }}
{{- range $asked }}
{{- if and (index . 1) (not ($.Capabilities.APIVersions.Has (index . 2))) }}
- "{{ index . 0 }}, but the cluster has no {{ index . 2 }}: install {{ index . 3 }} (without a cluster: helm template --api-versions {{ index . 2 }})"
{{- end }}
{{- end }}
{{- end -}}
