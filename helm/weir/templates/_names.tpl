{{/* Names, labels and images. */}}

{{/*
RayService names are at most 47 characters long, KubeRay says, and its services' begin with a letter and have no dot.
A release may be called 12345, on or a.b.
*/}}
{{- define "weir.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $name = contains .Chart.Name $release | ternary $release (printf "%s-%s" $release .Chart.Name) -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- $name = printf "%s-%s" .Chart.Name (trimSuffix (printf "-%s" .Chart.Name) $name) -}}
{{- end -}}
{{- end -}}
{{- $name | trunc 47 | trimSuffix "-" -}}
{{- end -}}

{{/* Nothing but these is selected by: not the labels that others may give, and no label that changes. */}}
{{- define "weir.selectorLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
{{- end -}}

{{/* Of every object but pods. Users' labels first, so that none is there twice and ours win where they must. */}}
{{- define "weir.labels" -}}
{{- $own := include "weir.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- $usual := dict "app.kubernetes.io/part-of" "weir" "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- mustMergeOverwrite $usual .Values.commonLabels $own | toYaml -}}
{{- end -}}

{{/* Labels of one object, beside those that an operator looks for; takes {root, labels}. */}}
{{- define "weir.labelsWith" -}}
{{- mustMergeOverwrite (deepCopy .labels) (include "weir.labels" .root | fromYaml) | toYaml -}}
{{- end -}}

{{/*
Of the pods of one component; takes {root, component, group}. Pods do not carry the chart's version: a label that
changes would cost a second Ray cluster.
*/}}
{{- define "weir.podLabels" -}}
{{- $own := include "weir.selectorLabels" .root | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/component" .component -}}
{{- mustMergeOverwrite (dict "app.kubernetes.io/part-of" "weir") .root.Values.commonLabels (.group.podLabels | default dict) $own | toYaml -}}
{{- end -}}

{{- define "weir.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion | replace "+" "_" }}
{{- end -}}
{{- end -}}

{{- define "weir.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "weir.fullname" .) -}}
{{- end -}}

{{/* Every topic by name and role, as `weir topics` has them; the parking topic is made, but no worker writes to it. */}}
{{- define "weir.topicRoles" -}}
{{- if include "weir.judgesMessages" . }}
{{- range .Values.topics.events }}
- {name: {{ . | quote }}, role: events}
{{- end }}
- {name: {{ .Values.topics.verdicts | quote }}, role: verdicts}
{{- end }}
- {name: {{ .Values.topics.deadLetters | quote }}, role: dead letters}
{{- if include "weir.judgesMessages" . }}
{{- range .Values.topics.routed }}
- {name: {{ . | quote }}, role: routed verdicts}
{{- end }}
{{- end }}
{{- if dig "shadow" "enabled" false .Values.settings }}
- {name: {{ include "weir.shadowTopic" . | quote }}, role: shadow}
{{- end }}
{{- if dig "deltas" "enabled" false .Values.settings }}
- {name: {{ include "weir.deltaTopic" . | quote }}, role: deltas}
- {name: {{ include "weir.turnVerdictTopic" . | quote }}, role: turn verdicts}
{{- end }}
- {name: {{ printf "%s.parking" (trimSuffix ".parking" .Values.topics.deadLetters) | quote }}, role: parked letters}
{{- end -}}
