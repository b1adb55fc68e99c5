{{/* The pod template of one Ray group. Takes {root, component, group, parts}. */}}
{{- define "weir.rayPod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "weir.podLabels" (dict "root" $root "component" .component "group" .group) | nindent 4 }}
  annotations:
    {{- if eq .component "head" }}
    # The policy is read when the application starts: a new one needs new pods.
    weir/policy: {{ $root.Values.policy.content | sha256sum | trunc 16 | quote }}
    {{- end }}
    kubectl.kubernetes.io/default-container: ray
    {{- with .group.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- if and (eq .component "head") $root.Values.ray.autoscaler.enabled }}
  # The autoscaler's sidecar talks to the API server. KubeRay gives this account rights on its own cluster's pods.
  serviceAccountName: {{ include "weir.fullname" $root }}-head
  automountServiceAccountToken: true
  {{- else }}
  serviceAccountName: {{ include "weir.serviceAccountName" $root | quote }}
  automountServiceAccountToken: false
  {{- end }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds | int64 }}
  securityContext:
    {{- include "weir.podSecurity" $root | nindent 4 }}
  {{- with include "weir.pullSecrets" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "weir.scheduling" .group }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if eq .component "guard" }}
  {{- with include "weir.download" (dict "root" $root "group" .group) }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- end }}
  containers:
    - name: ray
      image: {{ include "weir.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy | quote }}
      workingDir: /tmp
      env:
        {{- include "weir.rayEnv" $root | nindent 8 }}
      ports:
        {{- if eq .component "head" }}
        - {name: gcs, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        - {name: serve, containerPort: 8000}
        {{- if $root.Values.ask.enabled }}
        - {name: ask, containerPort: {{ $root.Values.ask.port | int64 }}}
        {{- end }}
        {{- end }}
        - {name: metrics, containerPort: 8080}
      securityContext:
        {{- include "weir.containerSecurity" $root | nindent 8 }}
      resources:
        {{- if eq .component "guard" }}
        {{- include "weir.guardResources" (dict "root" $root "resources" .group.resources) | nindent 8 }}
        {{- else }}
        {{- toYaml .group.resources | nindent 8 }}
        {{- end }}
      {{- if ne .component "head" }}
      # Without this, KubeRay asks each pod for an HTTP proxy, which consumers and guards do not have.
      readinessProbe:
        httpGet: {path: /api/healthz, port: 52365}
        initialDelaySeconds: 10
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 10
      {{- end }}
      volumeMounts:
        {{- include "weir.mounts" . | nindent 8 }}
  volumes:
    {{- include "weir.volumes" . | nindent 4 }}
{{- end -}}
