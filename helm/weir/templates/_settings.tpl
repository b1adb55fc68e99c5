{{/* Weir's settings as `weir.yaml` has them: what the user set, and what the chart knows better. */}}

{{- define "weir.ownSettings" -}}
kafka:
  bootstrap_servers: {{ .Values.kafka.bootstrapServers | quote }}
  group_id: {{ .Values.kafka.groupId | quote }}
  security_protocol: {{ include "weir.securityProtocol" . }}
  {{- if .Values.kafka.tls.enabled }}
  ssl_check_hostname: {{ .Values.kafka.tls.checkHostname }}
  {{- if .Values.kafka.tls.caSecret.name }}
  ssl_cafile: /etc/weir-kafka/ca.crt
  {{- end }}
  {{- if include "weir.clientSecret" . }}
  ssl_certfile: /etc/weir-kafka/tls.crt
  ssl_keyfile: /etc/weir-kafka/tls.key
  {{- end }}
  {{- end }}
  {{- with .Values.kafka.sasl.mechanism }}
  sasl_mechanism: {{ . | quote }}
  {{- if eq . "OAUTHBEARER" }}
  sasl_oauth_token_file: /etc/weir-kafka/token
  {{- else }}
  sasl_username: {{ include "weir.saslUsername" $ | quote }}
  sasl_password_file: /etc/weir-kafka/password
  {{- end }}
  {{- end }}
topics:
  events: {{ join "," .Values.topics.events | quote }}
  verdicts: {{ .Values.topics.verdicts | quote }}
  dead_letters: {{ .Values.topics.deadLetters | quote }}
guard:
  {{- with .Values.guard.model }}
  model: {{ . | quote }}
  {{- end }}
  {{- with .Values.guard.revision }}
  revision: {{ . | quote }}
  {{- end }}
  replicas: {{ ternary .Values.guard.replicas 1 (eq .Values.mode "rayservice") | int64 }}
  cpus_per_replica: {{ .Values.guard.cpusPerReplica }}
  gpus_per_replica: {{ .Values.guard.gpusPerReplica }}
{{- if include "weir.hasPolicy" . }}
policy:
  file: /etc/weir-policy/policy.yaml
{{- end }}
{{- with .Values.ask }}
{{- if .enabled }}
ask:
  enabled: true
  stream: {{ .stream }}
  host: 0.0.0.0
  port: {{ .port | int64 }}
  keys_file: /etc/weir-ask/keys.yaml
{{- end }}
{{- end }}
serve:
  consumers: {{ .Values.stream.consumers | int64 }}
  cpus_per_consumer: {{ .Values.stream.cpusPerConsumer }}
{{- end -}}

{{- define "weir.settings" -}}
{{- mustMergeOverwrite (deepCopy .Values.settings) (include "weir.ownSettings" . | fromYaml) | toYaml -}}
{{- end -}}

{{- define "weir.securityProtocol" -}}
{{- if .Values.kafka.sasl.mechanism -}}
{{- ternary "SASL_SSL" "SASL_PLAINTEXT" .Values.kafka.tls.enabled -}}
{{- else -}}
{{- ternary "SSL" "PLAINTEXT" .Values.kafka.tls.enabled -}}
{{- end -}}
{{- end -}}

{{/* Strimzi's user operator makes a secret of the user's name in the user's namespace. */}}
{{- define "weir.clientSecret" -}}
{{- if .Values.kafka.tls.clientSecret.name -}}
{{- .Values.kafka.tls.clientSecret.name -}}
{{- else if and .Values.strimzi.user.enabled (eq .Values.strimzi.user.authentication "tls") -}}
{{- include "weir.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "weir.passwordSecret" -}}
{{- .Values.kafka.sasl.passwordSecret.name | default (include "weir.fullname" .) -}}
{{- end -}}

{{- define "weir.saslUsername" -}}
{{- .Values.kafka.sasl.username | default (include "weir.fullname" .) -}}
{{- end -}}

{{- define "weir.hasPolicy" -}}
{{- if or .Values.policy.content .Values.policy.existingConfigMap -}}true{{- end -}}
{{- end -}}

{{/* What `serve deploy` takes. A change here is carried out in place, without a second cluster. */}}
{{- define "weir.serveConfig" -}}
# KubeRay calls the service ready when the head's proxy answers; consumers and guards have none.
proxy_location: HeadOnly
http_options:
  host: 0.0.0.0
  port: 8000
applications:
  - name: weir
    import_path: workers.serving.app:build_app
    # Nobody calls it: without a route the head's proxy never says that it is well, and KubeRay never calls us ready.
    route_prefix: /weir
    args:
      {{- include "weir.settings" . | nindent 6 }}
    {{- with .Values.settings.autoscaling }}
    {{- if .enabled }}
    autoscaling_policy:
      policy_function: workers.serving.backlog_policy:BacklogPolicy
      policy_kwargs:
        {{- toYaml . | nindent 8 }}
    {{- end }}
    {{- end }}
    deployments:
      {{- if include "weir.judgesMessages" . }}
      - name: StreamWorker
        ray_actor_options:
          num_cpus: {{ .Values.stream.cpusPerConsumer }}
          resources: {weir_stream: 1}
      - name: GuardDeployment
        ray_actor_options:
          num_cpus: {{ .Values.guard.cpusPerReplica }}
          num_gpus: {{ .Values.guard.gpusPerReplica }}
          resources: {weir_guard: 1}
      {{- end }}
      {{- if .Values.ask.enabled }}
      - name: Ask
        ray_actor_options:
          num_cpus: 0
          resources: {weir_ask: 1}
      {{- end }}
      {{- if ne (include "weir.shadowReplicas" .) "0" }}
      - name: ShadowGuard
        ray_actor_options:
          num_cpus: {{ .Values.guard.cpusPerReplica }}
          num_gpus: {{ .Values.guard.gpusPerReplica }}
          resources: {weir_guard: 1}
      {{- end }}
      {{- if dig "deltas" "enabled" false .Values.settings }}
      - name: DeltaWorker
        ray_actor_options:
          num_cpus: {{ dig "deltas" "cpus_per_consumer" 1.0 .Values.settings }}
          resources: {weir_stream: 1}
      {{- end }}
      {{- with include "weir.turnGuards" . | fromYaml }}
      {{- if .count }}
      - name: StreamGuard
        ray_actor_options:
          num_cpus: {{ .cpus }}
          num_gpus: {{ .gpus }}
          resources: {weir_guard: 1}
      {{- end }}
      {{- end }}
{{- end -}}

{{/* Whether whole messages are judged: without, no Gen model is loaded and topics.events are not read. */}}
{{- define "weir.judgesMessages" -}}
{{- if dig "guard" "enabled" true .Values.settings -}}true{{- end -}}
{{- end -}}

{{- define "weir.judgesTurns" -}}
{{- if or (dig "deltas" "enabled" false .Values.settings) (and .Values.ask.enabled .Values.ask.stream) -}}true{{- end -}}
{{- end -}}

{{/* The replicas that judge turns: {count, cpus, gpus}. */}}
{{- define "weir.turnGuards" -}}
count: {{ ternary (dig "stream_guard" "replicas" 1 .Values.settings | int) 0 (not (empty (include "weir.judgesTurns" .))) }}
cpus: {{ dig "stream_guard" "cpus_per_replica" 1.0 .Values.settings }}
gpus: {{ dig "stream_guard" "gpus_per_replica" 0.0 .Values.settings }}
{{- end -}}

{{- define "weir.deltaTopic" -}}
{{- dig "topics" "deltas" "chat.deltas" .Values.settings -}}
{{- end -}}

{{- define "weir.turnVerdictTopic" -}}
{{- dig "topics" "stream" "moderation.stream" .Values.settings -}}
{{- end -}}

{{- define "weir.shadowTopic" -}}
{{- dig "topics" "shadow" "moderation.shadow" .Values.settings -}}
{{- end -}}

{{/* Replicas of the shadow lane's candidate; a candidate that is only a policy has none. */}}
{{- define "weir.shadowReplicas" -}}
{{- $shadow := .Values.settings.shadow | default dict -}}
{{- if and $shadow.enabled (or $shadow.model $shadow.revision) -}}{{ $shadow.replicas | default 1 | int }}{{- else -}}0{{- end -}}
{{- end -}}
