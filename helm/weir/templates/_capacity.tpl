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

{{/* Replicas that find a place in one pod with guards; takes {root, resources, cpus, gpus}. Ray gives shares of one GPU, never of two. */}}
{{- define "weir.guardPlaces" -}}
{{- $pod := .root.Values.guard.gpusPerPod -}}
{{- $share := float64 .gpus -}}
{{- $places := 1000000 -}}
{{- if ge $share 1.0 -}}
{{- $places = floor (divf $pod $share) | int -}}
{{- else if gt $share 0.0 -}}
{{- $places = mul $pod (floor (addf (divf 1 $share) 0.000001) | int) | int -}}
{{- end -}}
{{- if gt (float64 .cpus) 0.0 -}}
{{- $places = min $places (floor (addf (divf (include "weir.cpus" .resources | float64) .cpus) 0.000001) | int) -}}
{{- end -}}
{{- $places -}}
{{- end -}}

{{/* Whether replicas of two kinds ask for more than there is; takes {first, second, offered}, each with {count, cpus, gpus}. What shares leave unused is not counted. */}}
{{- define "weir.exceeds" -}}
{{- range $kind := list "cpus" "gpus" -}}
{{- $asked := addf (mulf $.first.count (index $.first $kind)) (mulf $.second.count (index $.second $kind)) -}}
{{- if gt $asked (addf (mulf $.offered.count (index $.offered $kind)) 0.000001) -}}true{{- end -}}
{{- end -}}
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
{{- $turns := include "weir.turnGuards" $ | fromYaml }}
{{- $streamGuards := printf "settings.stream_guard.replicas=%v of settings.stream_guard.gpus_per_replica=%v, settings.stream_guard.cpus_per_replica=%v" $turns.count $turns.gpus $turns.cpus }}
{{- if $turns.count }}
{{- if and (hasPrefix "cuda" (dig "stream_guard" "device" "" .settings)) (eq (float64 $turns.gpus) 0.0) }}
- "settings.stream_guard.device={{ .settings.stream_guard.device }} needs a GPU, and settings.stream_guard.gpus_per_replica=0"
{{- end }}
{{- if and (gt (float64 $turns.gpus) 1.0) (ne (float64 $turns.gpus) (floor $turns.gpus)) }}
- "settings.stream_guard.gpus_per_replica={{ $turns.gpus }}: Ray gives a share of one GPU or whole ones"
{{- end }}
{{- if and (gt (float64 $turns.gpus) 0.0) (lt (float64 $turns.gpus) 1.0) (gt (int $turns.count) 1) (not (dig "stream_guard" "max_pages" nil .settings)) }}
- "{{ $streamGuards }} need settings.stream_guard.max_pages: unset, each takes half of the free memory of a GPU that it shares"
{{- end }}
{{- if and (not (include "weir.judgesMessages" $)) (eq (float64 $turns.gpus) 0.0) (gt (int .guard.gpusPerPod) 0) }}
- "guard.gpusPerPod={{ .guard.gpusPerPod }} with settings.guard.enabled=false and settings.stream_guard.gpus_per_replica=0: the GPUs would idle"
{{- end }}
{{- end }}
{{- $scaling := .settings.autoscaling | default dict }}
{{- $shadow := include "weir.shadowReplicas" $ | int }}
{{- $of := printf "of guard.gpusPerReplica=%v, guard.cpusPerReplica=%v" .guard.gpusPerReplica .guard.cpusPerReplica }}
{{- if eq .mode "rayservice" }}
{{- $messages := not (empty (include "weir.judgesMessages" $)) }}
{{- range $messages | ternary (list (list "guard.cpusPerReplica" .guard.cpusPerReplica "guardGroup") (list "stream.cpusPerConsumer" .stream.cpusPerConsumer "streamGroup")) list }}
{{- $cpus := include "weir.cpus" (index $.Values.ray (index . 2)).resources }}
{{- if gt (float64 (index . 1)) (float64 $cpus) }}
- "{{ index . 0 }}={{ index . 1 }} is above the {{ $cpus }} CPUs of ray.{{ index . 2 }}.resources: no pod could run one"
{{- end }}
{{- end }}
{{- $pods := ternary "maxReplicas" "replicas" .ray.autoscaler.enabled }}
{{- $group := .ray.guardGroup }}
{{- $cpus := include "weir.cpus" $group.resources }}
{{- $places := mul (include "weir.guardPlaces" (dict "root" $ "resources" $group.resources "cpus" .guard.cpusPerReplica "gpus" .guard.gpusPerReplica) | int) (get $group $pods) | int }}
{{- $room := printf "do not fit into ray.guardGroup.%s=%v pods of guard.gpusPerPod=%v, %s CPUs" $pods (get $group $pods) .guard.gpusPerPod $cpus }}
{{- $most := get $scaling "max_replicas" | default 8 | int }}
{{- $live := ternary (ternary $most (int .guard.replicas) (default false $scaling.enabled)) 0 $messages }}
{{- if gt $live $places }}
- "{{ ternary "settings.autoscaling.max_replicas" "guard.replicas" (default false $scaling.enabled) }}={{ $live }} {{ $of }} {{ $room }}"
{{- else if gt (add $live $shadow | int) $places }}
- "settings.shadow.replicas={{ $shadow }} beside {{ $live }} guard replicas {{ $of }} {{ $room }}: the candidate could take the place of live ones"
{{- end }}
{{- $guards := dict "count" (add $live $shadow) "cpus" .guard.cpusPerReplica "gpus" .guard.gpusPerReplica }}
{{- $offered := dict "count" (get $group $pods) "cpus" $cpus "gpus" .guard.gpusPerPod }}
{{- if gt (int $turns.count) (mul (include "weir.guardPlaces" (dict "root" $ "resources" $group.resources "cpus" $turns.cpus "gpus" $turns.gpus) | int) (get $group $pods) | int) }}
- "{{ $streamGuards }} {{ $room }}"
{{- else if and $turns.count (include "weir.exceeds" (dict "first" $guards "second" $turns "offered" $offered)) }}
- "{{ $streamGuards }}, beside {{ $guards.count }} guard replicas {{ $of }} {{ $room }}"
{{- end }}
{{- $consumers := ternary (ternary (get $scaling "max_consumers" | default 8 | int) (int .stream.consumers) (default false $scaling.enabled)) 0 $messages }}
{{- $group = .ray.streamGroup }}
{{- $cpus = include "weir.cpus" $group.resources }}
{{- $fromKafka := dict "count" $consumers "cpus" .stream.cpusPerConsumer "gpus" 0 }}
{{- $deltas := dict "count" (ternary (dig "deltas" "consumers" 1 .settings) 0 (dig "deltas" "enabled" false .settings)) "cpus" (dig "deltas" "cpus_per_consumer" 1.0 .settings) "gpus" 0 }}
{{- if and $deltas.count (or (gt (float64 $deltas.cpus) (float64 $cpus)) (include "weir.exceeds" (dict "first" $fromKafka "second" $deltas "offered" (dict "count" (get $group $pods) "cpus" $cpus "gpus" 0)))) }}
- "settings.deltas.consumers={{ $deltas.count }} of settings.deltas.cpus_per_consumer={{ $deltas.cpus }}, beside {{ $consumers }} consumers of stream.cpusPerConsumer={{ .stream.cpusPerConsumer }}, do not fit into ray.streamGroup.{{ $pods }}={{ get $group $pods }} pods of {{ $cpus }} CPUs"
{{- end }}
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
{{- else }}
{{- $guards := dict "count" (add (ternary 1 0 (not (empty (include "weir.judgesMessages" $)))) $shadow) "cpus" 0 "gpus" .guard.gpusPerReplica }}
{{- if and $shadow (gt (float64 .guard.gpusPerReplica) 0.0) (gt (int $guards.count) (include "weir.guardPlaces" (dict "root" $ "resources" dict "cpus" 0 "gpus" .guard.gpusPerReplica) | int)) }}
- "settings.shadow.replicas={{ $shadow }} beside the guard replica {{ $of }} do not fit into a pod of guard.gpusPerPod={{ .guard.gpusPerPod }}: the candidate would never start"
{{- end }}
{{- if and (gt (float64 $turns.gpus) 0.0) (gt (int $turns.count) (include "weir.guardPlaces" (dict "root" $ "resources" dict "cpus" 0 "gpus" $turns.gpus) | int) | or (include "weir.exceeds" (dict "first" $guards "second" (set (deepCopy $turns) "cpus" 0) "offered" (dict "count" 1 "cpus" 0 "gpus" .guard.gpusPerPod)))) }}
- "{{ $streamGuards }}, beside {{ $guards.count }} guard replicas {{ $of }} do not fit into a pod of guard.gpusPerPod={{ .guard.gpusPerPod }}"
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
