{{/* Names, labels and images. */}}

{{/* RayService names are at most 47 characters long, KubeRay says. */}}
{{- define "weir.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "weir.selectorLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: weir
{{- end -}}

{{- define "weir.labels" -}}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Pods do not carry the chart's version: a label that changes would cost a second Ray cluster. */}}
{{- define "weir.podLabels" -}}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/name: {{ .Chart.Name }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "weir.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "weir.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "weir.fullname" .) -}}
{{- end -}}

{{/* Every topic by name and role, as `weir topics` has them; the parking topic is made, but no worker writes to it. */}}
{{- define "weir.topicRoles" -}}
{{- range .Values.topics.events }}
- {name: {{ . | quote }}, role: events}
{{- end }}
- {name: {{ .Values.topics.verdicts | quote }}, role: verdicts}
- {name: {{ .Values.topics.deadLetters | quote }}, role: dead letters}
{{- range .Values.topics.routed }}
- {name: {{ . | quote }}, role: routed verdicts}
{{- end }}
{{- if dig "shadow" "enabled" false .Values.settings }}
- {name: {{ include "weir.shadowTopic" . | quote }}, role: shadow}
{{- end }}
- {name: {{ printf "%s.parking" (trimSuffix ".parking" .Values.topics.deadLetters) | quote }}, role: parked letters}
{{- end -}}
