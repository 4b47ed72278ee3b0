{{- /* The spec of a server's pod, before the user's podSpec is laid over it. */ -}}
{{- define "stowhouse.podSpec" -}}
serviceAccountName: {{ include "stowhouse.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml (merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "stowhouse.selectorLabels" $ | fromYaml)))) | nindent 4 }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: server
    image: {{ include "stowhouse.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    env:
      {{- include "stowhouse.env" . | nindent 6 }}
    {{- with .Values.extraEnvFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    ports:
      - name: http
        containerPort: 8420
      {{- if .Values.metricsService.enabled }}
      - name: metrics
        containerPort: 9420
      {{- end }}
    {{- range $name, $path := dict "livenessProbe" "/livez" "readinessProbe" "/readyz" "startupProbe" "/livez" }}
    {{ $name }}:
      {{- $probe := dict "httpGet" (dict "path" $path "port" "http" "scheme" (include "stowhouse.scheme" $ | upper)) }}
      {{- toYaml (merge (dict) (get $.Values $name) $probe) | nindent 6 }}
    {{- end }}
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    volumeMounts:
      - name: settings
        mountPath: /etc/stowhouse
        readOnly: true
      - name: data
        mountPath: /data
      - name: tmp
        mountPath: /tmp
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  # One volume for all: what changes in it arrives without a restart.
  - name: settings
    projected:
      defaultMode: 0440
      sources:
        - configMap:
            name: {{ include "stowhouse.fullname" . }}
        - secret:
            name: {{ include "stowhouse.keysSecret" . }}
            items:
              {{- range list "admin-key" "write-key" "read-key" }}
              - key: {{ . }}
                path: keys/{{ . }}
              {{- end }}
        {{- with .Values.database.existingSecret }}
        - secret:
            name: {{ . }}
            items:
              - key: {{ $.Values.database.key }}
                path: database/url
        {{- end }}
        {{- with .Values.tls.existingSecret }}
        - secret:
            name: {{ . }}
            items:
              - key: tls.crt
                path: tls/tls.crt
              - key: tls.key
                path: tls/tls.key
        {{- end }}
  - name: data
    {{- if .Values.persistence.enabled }}
    persistentVolumeClaim:
      claimName: {{ include "stowhouse.claim" . }}
    {{- else }}
    emptyDir: {}
    {{- end }}
  - name: tmp
    emptyDir: {}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "stowhouse.env" -}}
- name: STOWHOUSE_CONFIG
  value: /etc/stowhouse/config.yaml
- name: STOWHOUSE_LISTEN
  value: {{ printf "%s:8420" .Values.listenAddress | quote }}
- name: STOWHOUSE_DATA
  value: /data
- name: STOWHOUSE_ADMIN_KEY_FILE
  value: /etc/stowhouse/keys/admin-key
- name: STOWHOUSE_WRITE_KEY_FILE
  value: /etc/stowhouse/keys/write-key
- name: STOWHOUSE_READ_KEY_FILE
  value: /etc/stowhouse/keys/read-key
{{- if .Values.database.existingSecret }}
- name: STOWHOUSE_DATABASE_URL_FILE
  value: /etc/stowhouse/database/url
{{- end }}
{{- with .Values.s3 }}
{{- if .existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .accessKeyIdKey }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .secretAccessKeyKey }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
