{{/*
Pieces of pods. All pods are fit for the restricted pod security standard. They work in /tmp, which is empty: Ray puts
its nodes' working directory in front of its workers' path, where another image's packages would be taken for ours.
*/}}

{{- define "weir.podSecurity" -}}
{{- toYaml .Values.podSecurityContext -}}
{{- end -}}

{{- define "weir.containerSecurity" -}}
{{- toYaml .Values.securityContext -}}
{{- end -}}

{{/* The chart's own, and those that a parent chart gives all of its charts, as texts or as {name: …}. */}}
{{- define "weir.pullSecrets" -}}
{{- $names := .Values.image.pullSecrets -}}
{{- range (.Values.global | default dict).imagePullSecrets -}}
{{- $names = append $names (kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") .) -}}
{{- end -}}
{{- with uniq $names }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where a pod may run; takes the values of one group. */}}
{{- define "weir.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Resources of a guard pod: what the values say, and the GPUs. */}}
{{- define "weir.guardResources" -}}
{{- $resources := deepCopy .resources -}}
{{- if gt (int .root.Values.guard.gpusPerPod) 0 -}}
{{- $gpus := dict .root.Values.guard.gpuResource (.root.Values.guard.gpusPerPod | int | toString) -}}
{{- $limits := merge (dict) $gpus ($resources.limits | default dict) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/*
Environment of a container: the chart's own, given as a text, and the user's, which wins. No name is there twice: of two,
Kubernetes takes the last, and strict tools take neither. Takes {root, own}.
*/}}
{{- define "weir.withExtraEnv" -}}
{{- $extra := list -}}
{{- $names := list -}}
{{- $own := fromYamlArray .own -}}
{{- $attributes := "" -}}
{{- range $own -}}
{{- if eq .name "OTEL_RESOURCE_ATTRIBUTES" -}}{{- $attributes = .value -}}{{- end -}}
{{- end -}}
{{- range .root.Values.extraEnv -}}
{{- $names = append $names .name -}}
{{- if and $attributes .value (eq .name "OTEL_RESOURCE_ATTRIBUTES") -}}
{{- $extra = append $extra (dict "name" .name "value" (printf "%s,%s" $attributes .value)) -}}
{{- else -}}
{{- $extra = append $extra . -}}
{{- end -}}
{{- end -}}
{{- $kept := list -}}
{{- range $own -}}
{{- if not (has .name $names) -}}{{- $kept = append $kept . -}}{{- end -}}
{{- end -}}
{{- concat $kept $extra | toYaml -}}
{{- end -}}

{{- define "weir.env" -}}
{{- include "weir.withExtraEnv" (dict "root" . "own" (include "weir.ownEnv" .)) -}}
{{- end -}}

{{- define "weir.ownEnv" -}}
- {name: HOME, value: /tmp}
- {name: USER, value: weir}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO, value: "0"}
- {name: HF_HOME, value: /models}
- {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
{{- if or .Values.modelCache.offline .Values.modelCache.download.enabled }}
- {name: HF_HUB_OFFLINE, value: "1"}
{{- end }}
{{- with .Values.telemetry }}
{{- if .endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .endpoint | quote }}}
- {name: OTEL_EXPORTER_OTLP_PROTOCOL, value: {{ .protocol | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .sampleRatio | toString | quote }}}
- {name: OTEL_RESOURCE_ATTRIBUTES, value: {{ printf "k8s.namespace.name=%s,service.instance.group=%s" $.Release.Namespace $.Release.Name | quote }}}
{{- if .headersSecret.name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .headersSecret.name | quote }}
      key: {{ .headersSecret.key | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Environment of Ray's own pods, where `weir run` is not there to set it. */}}
{{- define "weir.rayEnv" -}}
{{- $own := include "weir.ownEnv" . -}}
{{- $own = printf "%s\n- {name: RAY_SERVE_LOG_TO_STDERR, value: \"0\"}" $own -}}
{{- if .Values.ray.logToStderr -}}
{{- $own = printf "%s\n- {name: RAY_LOG_TO_STDERR, value: \"1\"}" $own -}}
{{- end -}}
{{- include "weir.withExtraEnv" (dict "root" . "own" $own) -}}
{{- end -}}

{{- define "weir.usesKafkaFiles" -}}
{{- if or (and .Values.kafka.tls.enabled (or .Values.kafka.tls.caSecret.name (include "weir.clientSecret" .))) .Values.kafka.sasl.mechanism -}}true{{- end -}}
{{- end -}}

{{/* Takes {root, parts, group}: which of tmp, policy, settings, kafka, models, ask, shm a pod needs, and its values. */}}
{{- define "weir.mounts" -}}
{{- $root := .root -}}
- {name: tmp, mountPath: /tmp}
{{- if and (has "policy" .parts) (include "weir.hasPolicy" $root) }}
- {name: policy, mountPath: /etc/weir-policy, readOnly: true}
{{- end }}
{{- if has "settings" .parts }}
- {name: settings, mountPath: /etc/weir, readOnly: true}
{{- end }}
{{- if and (has "kafka" .parts) (include "weir.usesKafkaFiles" $root) }}
- {name: kafka, mountPath: /etc/weir-kafka, readOnly: true}
{{- end }}
{{- if has "models" .parts }}
- {name: models, mountPath: /models}
{{- end }}
{{- if and (has "ask" .parts) $root.Values.ask.enabled }}
- {name: ask, mountPath: /etc/weir-ask, readOnly: true}
{{- end }}
{{- if has "shm" .parts }}
- {name: shm, mountPath: /dev/shm}
{{- end }}
{{- with .group.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "weir.volumes" -}}
{{- $root := .root -}}
{{- $name := include "weir.fullname" $root -}}
- name: tmp
  emptyDir: {}
{{- if and (has "policy" .parts) (include "weir.hasPolicy" $root) }}
- name: policy
  configMap:
    name: {{ $root.Values.policy.existingConfigMap | default (printf "%s%s" $name (.suffix | default "-policy")) | quote }}
    {{- if not $root.Values.policy.existingConfigMap }}
    items: [{key: policy.yaml, path: policy.yaml}]
    {{- end }}
{{- end }}
{{- if has "settings" .parts }}
- name: settings
  configMap:
    name: {{ printf "%s%s" $name (.suffix | default "-settings") | quote }}
    items: [{key: weir.yaml, path: weir.yaml}]
{{- end }}
{{- if and (has "ask" .parts) $root.Values.ask.enabled }}
- name: ask
  secret:
    secretName: {{ $root.Values.ask.keysSecret.name | quote }}
    defaultMode: 0440
    items: [{key: {{ $root.Values.ask.keysSecret.key | quote }}, path: keys.yaml}]
{{- end }}
{{- if and (has "kafka" .parts) (include "weir.usesKafkaFiles" $root) }}
- name: kafka
  projected:
    defaultMode: 0440
    sources:
      {{- with $root.Values.kafka }}
      {{- if .tls.enabled }}
      {{- if .tls.caSecret.name }}
      - secret:
          name: {{ .tls.caSecret.name | quote }}
          items: [{key: {{ .tls.caSecret.key | quote }}, path: ca.crt}]
      {{- end }}
      {{- with include "weir.clientSecret" $root }}
      - secret:
          name: {{ . | quote }}
          items:
            - {key: {{ $root.Values.kafka.tls.clientSecret.certKey | quote }}, path: tls.crt}
            - {key: {{ $root.Values.kafka.tls.clientSecret.keyKey | quote }}, path: tls.key}
      {{- end }}
      {{- end }}
      {{- if eq .sasl.mechanism "OAUTHBEARER" }}
      {{- if .sasl.token.audience }}
      - serviceAccountToken:
          audience: {{ .sasl.token.audience | quote }}
          expirationSeconds: {{ .sasl.token.expirationSeconds | int64 }}
          path: token
      {{- else }}
      - secret:
          name: {{ .sasl.token.secretName | quote }}
          items: [{key: {{ .sasl.token.key | quote }}, path: token}]
      {{- end }}
      {{- else if .sasl.mechanism }}
      - secret:
          name: {{ include "weir.passwordSecret" $root | quote }}
          items: [{key: {{ .sasl.passwordSecret.key | quote }}, path: password}]
      {{- end }}
      {{- end }}
{{- end }}
{{- if has "models" .parts }}
- name: models
  {{- if eq $root.Values.modelCache.type "persistentVolumeClaim" }}
  persistentVolumeClaim:
    claimName: {{ $root.Values.modelCache.existingClaim | default (printf "%s-models" $name) | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ $root.Values.modelCache.size | quote }}
  {{- end }}
{{- if $root.Values.modelCache.download.enabled }}
- name: checksums
  configMap:
    name: {{ $name }}-model
{{- end }}
{{- end }}
{{- if has "shm" .parts }}
- name: shm
  emptyDir:
    medium: Memory
{{- end }}
{{- with .group.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The model that judges turns, where it comes from the hub and not from a folder. */}}
{{- define "weir.streamModelOfHub" -}}
{{- $model := dig "stream_guard" "model" "Qwen/Qwen3Guard-Stream-0.6B" .Values.settings -}}
{{- if and (include "weir.judgesTurns" .) (contains "/" $model) (not (hasPrefix "/" $model)) -}}{{ $model }}{{- end -}}
{{- end -}}

{{/* Models of the hub that are fetched before: {name, model, revision, setting, sums}, `setting` in front of their values' names. */}}
{{- define "weir.fetched" -}}
{{- with .Values }}
{{- if .modelCache.download.enabled }}
{{- if or (include "weir.judgesMessages" $) .audit.enabled }}
- {name: model, model: {{ .guard.model | quote }}, revision: {{ .guard.revision | quote }}, setting: guard, sums: sha256}
{{- end }}
{{- with include "weir.streamModelOfHub" $ }}
- {name: stream-model, model: {{ . | quote }}, revision: {{ dig "stream_guard" "revision" "" $.Values.settings | quote }}, setting: settings.stream_guard, sums: streamSha256}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The init containers that fetch models, where that is wanted, but for one of the name `without`; takes {root, group, without}. */}}
{{- define "weir.download" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- with include "weir.fetched" $root | fromYamlArray }}
initContainers:
  {{- range . }}
  {{- if ne .name ($.without | default "") }}
  - name: {{ .name }}
    image: {{ include "weir.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy | quote }}
    workingDir: /tmp
    command: [sh, /etc/weir-model/download.sh]
    env:
      {{- include "weir.withExtraEnv" (dict "root" $root "own" (include "weir.downloadEnv" (dict "root" $root "fetched" .))) | nindent 6 }}
    securityContext:
      {{- include "weir.containerSecurity" $root | nindent 6 }}
    resources:
      {{- toYaml $root.Values.modelCache.download.resources | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: models, mountPath: /models}
      - {name: checksums, mountPath: /etc/weir-model, readOnly: true}
      {{- with $group.volumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "weir.downloadEnv" -}}
- {name: HOME, value: /tmp}
- {name: HF_HOME, value: /models}
- {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
- {name: MODEL, value: {{ .fetched.model | quote }}}
- {name: REVISION, value: {{ .fetched.revision | quote }}}
- {name: SUMS, value: {{ .fetched.sums | quote }}}
{{- with .root.Values.modelCache.download.tokenSecret }}
{{- if .name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .name | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- end -}}
