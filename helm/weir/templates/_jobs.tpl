{{/* The pod of a Job that runs one `weir` command. Takes {root, args, resources, parts, suffix, group, component, variables}. */}}
{{- define "weir.jobPod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "weir.podLabels" (dict "root" $root "component" .component "group" .group) | nindent 4 }}
  {{- with .group.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: Never
  {{- if or (not .suffix) (not $root.Values.serviceAccount.create) }}
  serviceAccountName: {{ include "weir.serviceAccountName" $root | quote }}
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "weir.podSecurity" $root | nindent 4 }}
  {{- with include "weir.pullSecrets" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "weir.scheduling" .group }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if has "models" .parts }}
  {{- with include "weir.download" (dict "root" $root "group" .group "without" (ternary "stream-model" "" (eq .component "audit"))) }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- end }}
  containers:
    - name: weir
      image: {{ include "weir.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy | quote }}
      workingDir: /tmp
      command:
        - weir
        {{- toYaml .args | nindent 8 }}
      env:
        - {name: WEIR_CONFIG, value: /etc/weir/weir.yaml}
        {{- range $name, $value := .variables }}
        - {name: {{ $name | quote }}, value: {{ $value | quote }}}
        {{- end }}
        {{- if eq .component "audit" }}
        # For a folder of its own, which a pod that takes the run up again finds: --into s3://audits/$(JOB_NAME).
        - name: JOB_NAME
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
        {{- end }}
        {{- include "weir.env" $root | nindent 8 }}
      securityContext:
        {{- include "weir.containerSecurity" $root | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        {{- include "weir.mounts" . | nindent 8 }}
  volumes:
    {{- include "weir.volumes" . | nindent 4 }}
{{- end -}}
