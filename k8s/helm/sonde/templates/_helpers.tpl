{{- define "sonde.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name where it already says what this is. */}}
{{- define "sonde.fullname" -}}
{{- $name := include "sonde.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sonde.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "sonde.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: sonde
{{- end -}}

{{/* What selects the central Pod. It never changes: selectors of a Deployment cannot. */}}
{{- define "sonde.selector" -}}
sonde/role: central
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sonde.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sonde.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sonde.configMapName" -}}
{{- if .Values.existingConfigMap -}}
{{- .Values.existingConfigMap -}}
{{- else if eq .Values.mode "sidecar" -}}
{{- printf "%s-sidecar" (include "sonde.fullname" . | trunc 55 | trimSuffix "-") -}}
{{- else -}}
{{- include "sonde.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "sonde.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What Sonde's container is everywhere; its probes depend on where. */}}
{{- define "sonde.container" -}}
name: sonde
image: {{ include "sonde.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: ["serve", "--config", "/etc/sonde/sonde.yaml"]
env:
  - name: SONDE__SERVER__LISTEN
    value: 0.0.0.0:10798
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: sonde-metrics
    containerPort: 10798
livenessProbe:
  httpGet: {path: /-/healthy, port: sonde-metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  # The directory and not a file of it: a mounted file would never see an update of the ConfigMap.
  - name: sonde-config
    mountPath: /etc/sonde
    readOnly: true
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "sonde.volumes" -}}
- name: sonde-config
  configMap: {name: {{ include "sonde.configMapName" . }}}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Scrape settings of both monitors; the reasons are in prometheus/prometheus.yml. */}}
{{- define "sonde.scraping" -}}
scrapeProtocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText0.0.4]
scrapeClassicHistograms: true
sampleLimit: 50000
{{- end -}}

{{- define "sonde.endpoints" -}}
- port: sonde-metrics
  interval: {{ .Values.monitoring.operator.interval }}
  relabelings:
    # The alerts expect this name.
    - action: replace
      targetLabel: job
      replacement: sonde
{{- end -}}
