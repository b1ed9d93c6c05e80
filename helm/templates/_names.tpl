{{- define "betrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: selectors are made of them. Takes root and role. */}}
{{- define "betrace.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "betrace.labels" -}}
{{ include "betrace.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The metadata of an object of a role. */}}
{{- define "betrace.metadata" -}}
name: {{ include "betrace.fullname" .root }}-{{ .name | default .role }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "betrace.labels" . | nindent 2 }}
{{- end -}}

{{- define "betrace.image" -}}
{{- $all := .root.Values.image -}}
{{- $own := .values.image | default dict -}}
{{ $own.repository | default $all.repository }}:{{ $own.tag | default $all.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{/* The roles that this release runs, as a JSON list. */}}
{{- define "betrace.stages" -}}
{{- ternary (list "ingest" "sessions" "ledger") (list "ingest" "sessions") .Values.ledger.enabled | toJson -}}
{{- end -}}
