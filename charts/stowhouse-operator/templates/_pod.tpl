{{- /* The spec of the operator's pod, before the user's podSpec is laid over it. */ -}}
{{- define "operator.podSpec" -}}
serviceAccountName: {{ include "operator.serviceAccountName" . }}
automountServiceAccountToken: true
enableServiceLinks: false
terminationGracePeriodSeconds: 30
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
  - {{- toYaml (merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "operator.selectorLabels" $ | fromYaml)))) | nindent 4 }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
containers:
  - name: operator
    image: {{ include "operator.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      - --lease-namespace={{ .Release.Namespace }}
      - --lease-name={{ include "operator.fullname" . }}
      - --metrics-listen=:{{ .Values.metricsPort }}
      - --log-level={{ .Values.logLevel }}
      - --server-image={{ include "operator.imageOf" (dict "image" .Values.serverImage "version" .Chart.AppVersion) }}
      - --cluster-domain={{ .Values.clusterDomain }}
      {{- range .Values.watchNamespaces }}
      - --namespace={{ . }}
      {{- end }}
      {{- range .Values.extraArgs }}
      - {{ . | quote }}
      {{- end }}
    env:
      - name: POD_NAME
        valueFrom:
          fieldRef:
            fieldPath: metadata.name
      {{- with .Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    ports:
      - name: metrics
        containerPort: {{ .Values.metricsPort }}
    livenessProbe:
      httpGet:
        path: /healthz
        port: metrics
      periodSeconds: 20
      timeoutSeconds: 5
    readinessProbe:
      httpGet:
        path: /readyz
        port: metrics
      periodSeconds: 5
      timeoutSeconds: 5
    startupProbe:
      httpGet:
        path: /healthz
        port: metrics
      periodSeconds: 1
      timeoutSeconds: 5
      failureThreshold: 60
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
