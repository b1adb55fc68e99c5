{{/* The pod of a Job that runs one `weir` command. Takes {root, args, resources, parts, suffix, group, component, variables}. */}}
{{- define "weir.jobPod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "weir.podLabels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  restartPolicy: Never
  {{- if or (not .suffix) (not $root.Values.serviceAccount.create) }}
  serviceAccountName: {{ include "weir.serviceAccountName" $root }}
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "weir.podSecurity" $root | nindent 4 }}
  {{- with include "weir.pullSecrets" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "weir.scheduling" (.group | default dict) }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if has "models" .parts }}
  {{- with include "weir.download" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- end }}
  containers:
    - name: weir
      image: {{ include "weir.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      workingDir: /tmp
      command:
        - weir
        {{- toYaml .args | nindent 8 }}
      env:
        - {name: WEIR_CONFIG, value: /etc/weir/weir.yaml}
        {{- range $name, $value := .variables }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
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
