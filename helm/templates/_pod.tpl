{{/* What the pods of all roles have in common. Takes root, role and values. */}}
{{- define "betrace.pod" -}}
serviceAccountName: {{ include "betrace.fullname" .root }}
automountServiceAccountToken: false
# Kubernetes would set BETRACE_METRICS_PORT=tcp://... for a Service named betrace-metrics.
enableServiceLinks: false
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "betrace.podMetadata" -}}
labels:
  {{- include "betrace.labels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/settings: {{ include "betrace.variables" .root.Values.settings | sha256sum }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* What the containers of all roles have in common. Takes root, role and values. */}}
{{- define "betrace.container" -}}
image: {{ include "betrace.image" . }}
imagePullPolicy: {{ (.values.image | default dict).pullPolicy | default .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
envFrom:
  - configMapRef:
      name: {{ include "betrace.fullname" .root }}-settings
  {{- with .values.envFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $own := include "betrace.ownVariables" . | fromYaml }}
{{- if or $own .values.extraEnv }}
env:
  {{- range $name, $value := $own }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- with .values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
{{- end -}}

{{/* Where a stage says how it is; the settings must have a port for that. */}}
{{- define "betrace.probes" -}}
{{- if not (include "betrace.setting" (merge (dict "setting" "metricsPort") .) | int) -}}
{{- fail "settings.metricsPort is 0: the probes need a port" -}}
{{- end -}}
ports:
  - name: metrics
    containerPort: {{ include "betrace.setting" (merge (dict "setting" "metricsPort") .) }}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  {{- toYaml .root.Values.startupProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  {{- toYaml .root.Values.livenessProbe | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  {{- toYaml .root.Values.readinessProbe | nindent 2 }}
{{- end -}}

{{- define "betrace.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "betrace.secretFiles" . | fromJsonArray }}
- name: secrets
  mountPath: /etc/betrace/secrets
  readOnly: true
{{- end }}
{{- end -}}

{{- define "betrace.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with include "betrace.secretFiles" . | fromJsonArray }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range . }}
      - secret:
          name: {{ .secret }}
          items:
            - {key: {{ .key }}, path: {{ .file }}}
      {{- end }}
{{- end }}
{{- end -}}

{{/* The volume of a StatefulSet. Takes name and persistence. */}}
{{- define "betrace.claim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: {{ .name }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- if not (kindIs "invalid" .persistence.storageClassName) }}
    storageClassName: {{ .persistence.storageClassName | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ .persistence.size }}
{{- end -}}
