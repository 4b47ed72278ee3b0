{{- define "operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* They never change: a Deployment's selector can't, and the servers' network policies let this name in. */ -}}
{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- /* Labels of an object: the chart's, and over them more: {context, more} */ -}}
{{- define "operator.labelsWith" -}}
{{- toYaml (merge (dict) .more (include "operator.labels" .context | fromYaml)) -}}
{{- end -}}

{{- define "operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "operator.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- /* {image, version} */ -}}
{{- define "operator.imageOf" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .version) -}}{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "operator.image" -}}
{{- include "operator.imageOf" (dict "image" .Values.image "version" .Chart.AppVersion) -}}
{{- end -}}

{{- /* The operator's rights where it serves: the same in a ClusterRole and in the Roles of single namespaces. */ -}}
{{- define "operator.rules" -}}
- apiGroups: [stowhouse.dev]
  resources: [cacheservers]
  verbs: [get, list, watch]
# Patched for their finalizer: a key is revoked before its resource goes.
- apiGroups: [stowhouse.dev]
  resources: [cachekeys]
  verbs: [get, list, watch, patch]
- apiGroups: [stowhouse.dev]
  resources: [cacheservers/status, cachekeys/status]
  verbs: [patch]
- apiGroups: [stowhouse.dev]
  resources: [cacheservers/finalizers, cachekeys/finalizers]
  verbs: [update]
# By name only: neither list nor watch, so that it can't be made to collect what isn't its own.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims, serviceaccounts, services]
  verbs: &all [get, list, watch, create, patch, delete]
# Labels, for the selectors of spec.access.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [apps]
  resources: [deployments]
  verbs: *all
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: *all
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: *all
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: *all
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: *all
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: *all
- apiGroups: [monitoring.coreos.com]
  resources: [prometheusrules, servicemonitors]
  verbs: *all
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
