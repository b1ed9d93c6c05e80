{{/* A map of settings as environment variables; those without a value are left out. */}}
{{- define "betrace.variables" -}}
{{- range $name, $value := . }}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
BETRACE_{{ $name | snakecase | upper }}: {{ toString $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The value of a setting for a role: its own, or everyone's. Takes root, values and setting. */}}
{{- define "betrace.setting" -}}
{{- $own := get (.values.settings | default dict) .setting -}}
{{- $own | default (get .root.Values.settings .setting) | default "" -}}
{{- end -}}

{{/* The name of a role's KafkaUser, and of the Secret that Strimzi makes for it. */}}
{{- define "betrace.user" -}}
{{ include "betrace.fullname" .root }}-{{ .role }}
{{- end -}}

{{/* Who makes this role's user, as a truth: empty for none. */}}
{{- define "betrace.hasStrimziUser" -}}
{{- if and .root.Values.strimzi.enabled .root.Values.strimzi.users -}}true{{- end -}}
{{- end -}}

{{/* The Secret and key of a credential for a role, as YAML; without a name when there is none. Takes kind as well. */}}
{{- define "betrace.secret" -}}
{{- $all := .root.Values.secrets -}}
{{- $found := get (.values.secrets | default dict) .kind | default (get $all .kind) | default dict -}}
{{- if and (not $found.existingSecret) (include "betrace.hasStrimziUser" .) -}}
{{- $user := include "betrace.user" . -}}
{{- $made := dict
  "saslPassword" (dict "existingSecret" $user "key" "password")
  "sslCa" (dict "existingSecret" (printf "%s-cluster-ca-cert" .root.Values.strimzi.cluster) "key" "ca.crt") -}}
{{- if eq .root.Values.strimzi.authentication "tls" -}}
{{- $made = merge $made (dict
  "sslCert" (dict "existingSecret" $user "key" "user.crt")
  "sslKey" (dict "existingSecret" $user "key" "user.key")) -}}
{{- end -}}
{{- $found = get $made .kind | default dict -}}
{{- end -}}
{{- mergeOverwrite (dict "key" (get (get $all .kind) "key")) $found | toYaml -}}
{{- end -}}

{{/* The files of secrets of a role, as a JSON list of file, variable, secret and key. */}}
{{- define "betrace.secretFiles" -}}
{{- $protocol := include "betrace.setting" (merge (dict "setting" "securityProtocol") .) -}}
{{- $files := list -}}
{{- $wanted := list -}}
{{- if hasPrefix "SASL_" $protocol -}}
{{- $wanted = append $wanted (dict "kind" "saslPassword" "file" "sasl-password" "variable" "BETRACE_SASL_PASSWORD_FILE") -}}
{{- end -}}
{{- if hasSuffix "SSL" $protocol -}}
{{- $wanted = concat $wanted (list
  (dict "kind" "sslCa" "file" "ca.crt" "variable" "BETRACE_SSL_CA_FILE")
  (dict "kind" "sslCert" "file" "tls.crt" "variable" "BETRACE_SSL_CERT_FILE")
  (dict "kind" "sslKey" "file" "tls.key" "variable" "BETRACE_SSL_KEY_FILE")) -}}
{{- end -}}
{{- $given := . -}}
{{- range $wanted -}}
{{- $secret := include "betrace.secret" (merge (dict "kind" .kind) $given) | fromYaml -}}
{{- if $secret.existingSecret -}}
{{- $files = append $files (dict "file" .file "variable" .variable "secret" $secret.existingSecret "key" $secret.key) -}}
{{- else if eq .kind "saslPassword" -}}
{{- fail (printf "%s: securityProtocol is %s, so set secrets.saslPassword.existingSecret" $given.role $protocol) -}}
{{- end -}}
{{- end -}}
{{- if eq .role "ingest" -}}
{{- with .values.deadLetterKey -}}
{{- if .existingSecret -}}
{{- $files = append $files (dict "file" "dead-letter-key" "variable" "BETRACE_DEAD_LETTER_KEY" "secret" .existingSecret "key" .key) -}}
{{- end -}}
{{- end -}}
{{- with .values.redact.key -}}
{{- if .existingSecret -}}
{{- $files = append $files (dict "file" "redact-key" "variable" "BETRACE_REDACT_KEY_FILE" "secret" .existingSecret "key" .key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq .role "ledger" -}}
{{- if not .values.key.existingSecret -}}
{{- fail "ledger.enabled needs ledger.key.existingSecret: make a key with `betrace evidence keygen`" -}}
{{- end -}}
{{- if .values.newKey.existingSecret -}}
{{- $files = append $files (dict "file" "new-ledger-key" "secret" .values.newKey.existingSecret "key" .values.newKey.key) -}}
{{- end -}}
{{- $files = append $files (dict "file" "ledger-key" "secret" .values.key.existingSecret "key" .values.key.key) -}}
{{- end -}}
{{- $files | toJson -}}
{{- end -}}

{{/* The variables of a role alone, which go before those of all. */}}
{{- define "betrace.ownVariables" -}}
{{- $settings := deepCopy (.values.settings | default dict) -}}
{{- if and (include "betrace.hasStrimziUser" .) (eq .root.Values.strimzi.authentication "scram-sha-512") -}}
{{- $settings = merge $settings (dict "saslUsername" (include "betrace.user" .)) -}}
{{- end -}}
{{- if eq .role "ingest" -}}
{{- $settings = merge $settings (dict "redact" .values.redact.attributes) -}}
{{- end -}}
{{- if eq .role "ledger" -}}
{{- $keys := ternary "/etc/betrace/secrets/new-ledger-key:/etc/betrace/secrets/ledger-key" "/etc/betrace/secrets/ledger-key" (ne .values.newKey.existingSecret "") -}}
{{- $settings = merge $settings (dict "evidence" .values.evidence "ledgerKey" $keys "sealEvery" .values.sealEvery "retentionDays" .values.retentionDays) -}}
{{- end -}}
{{- include "betrace.variables" $settings -}}
{{- range include "betrace.secretFiles" . | fromJsonArray }}
{{- if .variable }}
{{ .variable }}: /etc/betrace/secrets/{{ .file }}
{{- end }}
{{- end }}
{{- end -}}
