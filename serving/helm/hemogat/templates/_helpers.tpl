{{- define "hemogat.name" -}}
{{- if contains "hemogat" .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-hemogat" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "hemogat.selector" -}}
app.kubernetes.io/name: hemogat
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hemogat.labels" -}}
{{ include "hemogat.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "hemogat.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "hemogat.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "hemogat.arguments" -}}
{{- if .Values.repository.existingClaim -}}
- /models
{{- else -}}
- /bundle
{{- range $option := list "engine" "precision" "device" "instances" "threads" }}
{{- with index $.Values.serve $option }}
- --{{ $option }}={{ . }}
{{- end }}
{{- end }}
{{- if .Values.serve.explain }}
- --explain
{{- end }}
{{- if .Values.settings }}
- --settings=/etc/hemogat/settings.yaml
{{- end }}
{{- end }}
- --ready-timeout={{ .Values.startupSeconds }}
- --drain-seconds={{ .Values.drainSeconds }}
{{- range .Values.serve.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}
