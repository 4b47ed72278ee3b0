{{- define "stowhouse.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* They never change: a Deployment's selector can't. */ -}}
{{- define "stowhouse.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "stowhouse.labels" -}}
{{ include "stowhouse.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- /* Labels of an object: the chart's, and over them more: {context, more} */ -}}
{{- define "stowhouse.labelsWith" -}}
{{- toYaml (merge (dict) .more (include "stowhouse.labels" .context | fromYaml)) -}}
{{- end -}}

{{- define "stowhouse.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "stowhouse.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "stowhouse.image" -}}
{{- with .Values.image -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "stowhouse.keysSecret" -}}
{{- .Values.keys.existingSecret | default (printf "%s-keys" (include "stowhouse.fullname" .)) -}}
{{- end -}}

{{- define "stowhouse.claim" -}}
{{- .Values.persistence.existingClaim | default (include "stowhouse.fullname" .) -}}
{{- end -}}

{{- define "stowhouse.scheme" -}}
{{- ternary "https" "http" (not (empty .Values.tls.existingSecret)) -}}
{{- end -}}

{{- /* What clients in the cluster use. */ -}}
{{- define "stowhouse.endpoint" -}}
{{- printf "%s://%s.%s.svc:%d" (include "stowhouse.scheme" .) (include "stowhouse.fullname" .) .Release.Namespace (int .Values.service.port) -}}
{{- end -}}

{{- /* What clients outside use, or nothing. */ -}}
{{- define "stowhouse.publicUrl" -}}
{{- if .Values.config.url -}}
{{- .Values.config.url -}}
{{- else if and .Values.ingress.enabled .Values.ingress.hosts -}}
{{- printf "%s://%s" (ternary "https" "http" (not (empty .Values.ingress.tls))) (first .Values.ingress.hosts) -}}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
{{- printf "https://%s" (first .Values.httpRoute.hostnames) -}}
{{- end -}}
{{- end -}}

{{- /* The server's configuration: the user's, and the addresses and paths that are the chart's. */ -}}
{{- define "stowhouse.config" -}}
{{- $ours := dict -}}
{{- with include "stowhouse.publicUrl" . }}{{- $_ := set $ours "url" . }}{{- end -}}
{{- if .Values.metricsService.enabled }}{{- $_ := set $ours "metrics" (dict "listen" (printf "%s:9420" .Values.listenAddress)) }}{{- end -}}
{{- if .Values.tls.existingSecret }}{{- $_ := set $ours "tls" (dict "cert" "/etc/stowhouse/tls/tls.crt" "key" "/etc/stowhouse/tls/tls.key") }}{{- end -}}
{{- /* Endpoints of a Service forget a pod only a while after it was told to stop. */ -}}
{{- $defaults := dict "shutdown" (dict "delay" "5s") -}}
{{- toYaml (mustMergeOverwrite $defaults (deepCopy .Values.config) $ours) -}}
{{- end -}}

{{- /* What of it needs a restart: a running server takes over the rest. */ -}}
{{- define "stowhouse.restartConfig" -}}
{{- $config := include "stowhouse.config" . | fromYaml -}}
{{- range .Files.Lines "files/reloadable.txt" -}}
{{- $path := splitList "." . -}}
{{- if eq (len $path) 1 -}}
{{- $_ := unset $config (first $path) -}}
{{- else if kindIs "map" (get $config (first $path)) -}}
{{- $_ := unset (get $config (first $path)) (last $path) -}}
{{- if not (get $config (first $path)) }}{{- $_ := unset $config (first $path) }}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "stowhouse.manyWriters" -}}
{{- if or (not .Values.persistence.enabled) (has "ReadWriteMany" .Values.persistence.accessModes) }}yes{{ end -}}
{{- end -}}

{{- /* Whether an old and a new server may run at once. */ -}}
{{- define "stowhouse.rolling" -}}
{{- if and .Values.database.existingSecret (include "stowhouse.manyWriters" .) }}yes{{ end -}}
{{- end -}}

{{- define "stowhouse.validate" -}}
{{- if and (eq (dig "database" "type" "" .Values.config) "postgres") (not .Values.database.existingSecret) -}}
{{- fail "config.database.type is postgres, but the chart has no URL for it: name a Secret that holds it in database.existingSecret" -}}
{{- end -}}
{{- if and .Values.database.existingSecret (eq (dig "database" "type" "" .Values.config) "sqlite") -}}
{{- fail "config.database.type is sqlite, but database.existingSecret names a PostgreSQL: keep one of them" -}}
{{- end -}}
{{- $many := "" -}}
{{- if gt (int .Values.replicaCount) 1 }}{{- $many = printf "replicaCount is %d" (int .Values.replicaCount) }}{{- end -}}
{{- if .Values.autoscaling.enabled }}{{- $many = "autoscaling.enabled is true" }}{{- end -}}
{{- if $many -}}
{{- if not .Values.database.existingSecret -}}
{{- fail (printf "%s, but more than one server needs PostgreSQL: name a Secret with its URL in database.existingSecret" $many) -}}
{{- end -}}
{{- if not (include "stowhouse.manyWriters" .) -}}
{{- fail (printf "%s, but persistence.accessModes allows one server only: set persistence.enabled to false with storages of type s3, or have ReadWriteMany" $many) -}}
{{- end -}}
{{- if not .Values.persistence.enabled -}}
{{- range $name, $storage := .Values.config.storages | default (dict "default" dict) -}}
{{- if ne (dig "type" "filesystem" ($storage | default dict)) "s3" -}}
{{- fail (printf "%s, but config.storages.%s keeps blobs in a pod's own directory, where other servers can't read them: make its type s3" $many $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled is true, but ingress.hosts is empty: name the host that clients use" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled is true, but httpRoute.parentRefs is empty: name the Gateway" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.metricsService.enabled) -}}
{{- fail "serviceMonitor.enabled is true, but metricsService.enabled is false: Prometheus would find nothing to scrape" -}}
{{- end -}}
{{- end -}}
