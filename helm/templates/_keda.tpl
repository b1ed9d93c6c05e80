{{/* A ScaledObject with a Kafka trigger for each topic, and what it needs to ask Kafka. Takes root, role, values and kind. */}}
{{- define "betrace.scaledObject" }}
{{- $scaling := .values.autoscaling }}
{{- $root := .root }}
{{- $given := . }}
{{- $settings := $root.Values.settings }}
{{- $topics := ternary (splitList "," $settings.sourceTopics) (list (printf "%sfacts" $settings.prefix)) (eq .role "ingest") }}
{{- $files := include "betrace.secretFiles" . | fromJsonArray }}
{{- $protocol := include "betrace.setting" (merge (dict "setting" "securityProtocol") .) }}
{{- $mechanism := include "betrace.setting" (merge (dict "setting" "saslMechanism") .) }}
{{- $sasl := dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512" "OAUTHBEARER" "oauthbearer" }}
{{- $name := printf "%s-%s" (include "betrace.fullname" $root) .role }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "betrace.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .kind }}
    name: {{ $name }}
  pollingInterval: {{ $root.Values.keda.pollingIntervalSeconds }}
  cooldownPeriod: {{ $root.Values.keda.cooldownSeconds }}
  minReplicaCount: {{ $scaling.minReplicas }}
  maxReplicaCount: {{ $scaling.maxReplicas }}
  triggers:
    {{- if eq .role "sessions" }}
    - type: cpu
      metricType: Utilization
      metadata:
        value: {{ $scaling.targetCpuPercent | quote }}
    {{- end }}
    {{- if $scaling.lagThreshold }}
    {{- range $topics }}
    - type: kafka
      metadata:
        bootstrapServers: {{ $settings.bootstrap | quote }}
        consumerGroup: {{ $settings.prefix }}{{ $given.role }}
        topic: {{ trim . }}
        lagThreshold: {{ $scaling.lagThreshold | int | quote }}
        offsetResetPolicy: earliest
        {{- if hasPrefix "SASL_" $protocol }}
        sasl: {{ get $sasl $mechanism }}
        {{- end }}
        {{- if hasSuffix "SSL" $protocol }}
        tls: enable
        {{- end }}
      {{- if ne $protocol "PLAINTEXT" }}
      authenticationRef:
        name: {{ $name }}
      {{- end }}
    {{- end }}
    {{- end }}
{{- if and $scaling.lagThreshold (ne $protocol "PLAINTEXT") }}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  {{- include "betrace.metadata" . | nindent 2 }}
spec:
  {{- if hasPrefix "SASL_" $protocol }}
  env:
    - {parameter: username, name: BETRACE_SASL_USERNAME, containerName: {{ .role }}}
    {{- if eq $mechanism "OAUTHBEARER" }}
    - {parameter: oauthTokenEndpointUri, name: BETRACE_SASL_TOKEN_URL, containerName: {{ .role }}}
    {{- end }}
  {{- end }}
  {{- $parameters := dict "sasl-password" "password" "ca.crt" "ca" "tls.crt" "cert" "tls.key" "key" }}
  {{- $asked := list }}
  {{- range $files }}
  {{- with get $parameters .file }}
  {{- $asked = append $asked . }}
  {{- end }}
  {{- end }}
  {{- if $asked }}
  secretTargetRef:
    {{- range $files }}
    {{- if hasKey $parameters .file }}
    - {parameter: {{ get $parameters .file }}, name: {{ .secret }}, key: {{ .key }}}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
