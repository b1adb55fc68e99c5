{{/* How many replicas a pod has room for, and what is refused because it has none. */}}

{{/* Whole CPUs of a pod as KubeRay counts them: the limit, or else the request, rounded up. */}}
{{- define "weir.cpus" -}}
{{- $asked := toString (coalesce (.limits | default dict).cpu (.requests | default dict).cpu "0") -}}
{{- if hasSuffix "m" $asked -}}
{{- ceil (divf (trimSuffix "m" $asked | float64) 1000) -}}
{{- else -}}
{{- ceil (float64 $asked) -}}
{{- end -}}
{{- end -}}

{{/* Guard replicas that find a place in one pod; takes {root, resources}. Ray gives shares of one GPU, never of two. */}}
{{- define "weir.guardPlaces" -}}
{{- $guard := .root.Values.guard -}}
{{- $share := float64 $guard.gpusPerReplica -}}
{{- $places := 1000000 -}}
{{- if ge $share 1.0 -}}
{{- $places = floor (divf $guard.gpusPerPod $share) | int -}}
{{- else if gt $share 0.0 -}}
{{- $places = mul $guard.gpusPerPod (floor (addf (divf 1 $share) 0.000001) | int) | int -}}
{{- end -}}
{{- if gt (float64 $guard.cpusPerReplica) 0.0 -}}
{{- $places = min $places (floor (addf (divf (include "weir.cpus" .resources | float64) $guard.cpusPerReplica) 0.000001) | int) -}}
{{- end -}}
{{- $places -}}
{{- end -}}

{{/* More than there is room for. */}}
{{- define "weir.overfull" -}}
{{- with .Values }}
{{- if gt (float64 .guard.gpusPerReplica) (float64 .guard.gpusPerPod) }}
- "guard.gpusPerReplica={{ .guard.gpusPerReplica }} is above guard.gpusPerPod={{ .guard.gpusPerPod }}: no pod could run a replica"
{{- end }}
{{- if and (eq (float64 .guard.gpusPerReplica) 0.0) (gt (int .guard.gpusPerPod) 0) }}
- "guard.gpusPerPod={{ .guard.gpusPerPod }} with guard.gpusPerReplica=0: the GPUs would idle"
{{- end }}
{{- if and (eq (dig "guard" "engine" "" .settings) "remote") (gt (int .guard.gpusPerPod) 0) }}
- "guard.gpusPerPod={{ .guard.gpusPerPod }} with settings.guard.engine=remote: the GPUs would idle; it is 0, and guard.gpusPerReplica, too"
{{- end }}
{{- if and (hasPrefix "cuda" (dig "guard" "device" "" .settings)) (eq (int .guard.gpusPerPod) 0) }}
- "settings.guard.device={{ .settings.guard.device }} needs a GPU, and guard.gpusPerPod=0"
{{- end }}
{{- if and (gt (float64 .guard.gpusPerReplica) 1.0) (ne (float64 .guard.gpusPerReplica) (floor .guard.gpusPerReplica)) }}
- "guard.gpusPerReplica={{ .guard.gpusPerReplica }}: Ray gives a share of one GPU or whole ones"
{{- end }}
{{- $scaling := .settings.autoscaling | default dict }}
{{- $shadow := include "weir.shadowReplicas" $ | int }}
{{- $of := printf "of guard.gpusPerReplica=%v, guard.cpusPerReplica=%v" .guard.gpusPerReplica .guard.cpusPerReplica }}
{{- if eq .mode "rayservice" }}
{{- range list (list "guard.cpusPerReplica" .guard.cpusPerReplica "guardGroup") (list "stream.cpusPerConsumer" .stream.cpusPerConsumer "streamGroup") }}
{{- $cpus := include "weir.cpus" (index $.Values.ray (index . 2)).resources }}
{{- if gt (float64 (index . 1)) (float64 $cpus) }}
- "{{ index . 0 }}={{ index . 1 }} is above the {{ $cpus }} CPUs of ray.{{ index . 2 }}.resources: no pod could run one"
{{- end }}
{{- end }}
{{- $pods := ternary "maxReplicas" "replicas" .ray.autoscaler.enabled }}
{{- $group := .ray.guardGroup }}
{{- $places := mul (include "weir.guardPlaces" (dict "root" $ "resources" $group.resources) | int) (get $group $pods) | int }}
{{- $room := printf "do not fit into ray.guardGroup.%s=%v pods of guard.gpusPerPod=%v, %s CPUs" $pods (get $group $pods) .guard.gpusPerPod (include "weir.cpus" $group.resources) }}
{{- $most := get $scaling "max_replicas" | default 8 | int }}
{{- $messages := not (empty (include "weir.judgesMessages" $)) }}
{{- $live := ternary (ternary $most (int .guard.replicas) (default false $scaling.enabled)) 0 $messages }}
{{- if gt $live $places }}
- "{{ ternary "settings.autoscaling.max_replicas" "guard.replicas" (default false $scaling.enabled) }}={{ $live }} {{ $of }} {{ $room }}"
{{- else if gt (add $live $shadow | int) $places }}
- "settings.shadow.replicas={{ $shadow }} beside {{ $live }} guard replicas {{ $of }} {{ $room }}: the candidate could take the place of live ones"
{{- end }}
{{- $consumers := ternary (ternary (get $scaling "max_consumers" | default 8 | int) (int .stream.consumers) (default false $scaling.enabled)) 0 $messages }}
{{- $group = .ray.streamGroup }}
{{- if and (gt (float64 .stream.cpusPerConsumer) 0.0) (gt $consumers (mul (floor (addf (divf (include "weir.cpus" $group.resources | float64) .stream.cpusPerConsumer) 0.000001) | int) (get $group $pods) | int)) }}
- "{{ ternary "settings.autoscaling.max_consumers" "stream.consumers" (default false $scaling.enabled) }}={{ $consumers }} of stream.cpusPerConsumer={{ .stream.cpusPerConsumer }} do not fit into ray.streamGroup.{{ $pods }}={{ get $group $pods }} pods of {{ include "weir.cpus" $group.resources }} CPUs"
{{- end }}
{{- if and $scaling.enabled (not .ray.autoscaler.enabled) }}
- "settings.autoscaling.enabled=true needs ray.autoscaler.enabled=true: nobody would make the pods"
{{- end }}
{{- if and $scaling.enabled (gt (int .guard.replicas) $most) }}
- "guard.replicas={{ .guard.replicas }} is above settings.autoscaling.max_replicas={{ $most }}"
{{- end }}
{{- if and $scaling.enabled (gt (int .stream.consumers) $consumers) }}
- "stream.consumers={{ .stream.consumers }} is above settings.autoscaling.max_consumers={{ $consumers }}"
{{- end }}
{{- else if and $shadow (gt (float64 .guard.gpusPerReplica) 0.0) (gt (add 1 $shadow | int) (include "weir.guardPlaces" (dict "root" $ "resources" (dict "limits" (dict "cpu" 1000000))) | int)) }}
- "settings.shadow.replicas={{ $shadow }} beside the guard replica {{ $of }} do not fit into a pod of guard.gpusPerPod={{ .guard.gpusPerPod }}: the candidate would never start"
{{- end }}
{{- end }}
{{- end -}}
