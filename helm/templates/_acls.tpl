{{/* An ACL of Strimzi's. Takes type, name, operations, and isPrefix where it is of all names that begin so. */}}
{{- define "betrace.acl" }}
- resource: {type: {{ .type }}, name: {{ .name | quote }}, patternType: {{ ternary "prefix" "literal" (.isPrefix | default false) }}}
  operations: [{{ join ", " .operations }}]
{{- end -}}

{{/* What a role may do, and no more: topics/cluster/acls.py. Takes root and role. */}}
{{- define "betrace.acls" -}}
{{- $own := .root.Values.settings.prefix -}}
{{- $acls := list -}}
{{- $sources := list -}}
{{- $read := list -}}
{{- $made := list -}}
{{- range splitList "," .root.Values.settings.sourceTopics -}}
{{- $sources = append $sources (dict "type" "topic" "name" (trim .) "operations" (list "Read")) -}}
{{- $read = append $read (dict "type" "topic" "name" (trim .) "operations" (list "Read" "DescribeConfigs")) -}}
{{- $made = append $made (dict "type" "topic" "name" (trim .) "operations" (list "Create" "Describe" "DescribeConfigs")) -}}
{{- end -}}
{{- $readers := dict "type" "group" "name" (print $own "readers") "operations" (list "Describe") -}}
{{- if eq .role "setup" -}}
{{- $acls = concat $made (list
  (dict "type" "topic" "name" $own "operations" (list "Create" "Describe" "DescribeConfigs") "isPrefix" true)
  (dict "type" "topic" "name" (print $own "rules") "operations" (list "Read" "Write"))
  $readers) -}}
{{- else if eq .role "ingest" -}}
{{- $acls = concat $read (list
  (dict "type" "topic" "name" (print $own "rules") "operations" (list "Read"))
  (dict "type" "topic" "name" (print $own "facts") "operations" (list "Write"))
  (dict "type" "topic" "name" (print $own "dead_letters") "operations" (list "Write"))
  (dict "type" "topic" "name" (print $own "audit") "operations" (list "Write"))
  (dict "type" "group" "name" (print $own "ingest") "operations" (list "Read"))
  $readers) -}}
{{- else if eq .role "sessions" -}}
{{- $acls = list
  (dict "type" "topic" "name" (print $own "facts") "operations" (list "Read" "Delete"))
  (dict "type" "topic" "name" (print $own "rules") "operations" (list "Read"))
  (dict "type" "topic" "name" (print $own "checkpoints") "operations" (list "Read" "Write"))
  (dict "type" "topic" "name" (print $own "signals") "operations" (list "Write"))
  (dict "type" "topic" "name" (print $own "verdicts") "operations" (list "Read" "Write"))
  (dict "type" "group" "name" (print $own "sessions") "operations" (list "Read"))
  $readers
  (dict "type" "transactionalId" "name" (print $own "sessions-") "operations" (list "Write") "isPrefix" true) -}}
{{- else if eq .role "ledger" -}}
{{- range list "rules" "verdicts" "signals" "audit" -}}
{{- $acls = append $acls (dict "type" "topic" "name" (print $own .) "operations" (list "Read")) -}}
{{- end -}}
{{- $acls = concat $acls (list
  (dict "type" "topic" "name" (print $own "tree_heads") "operations" (list "Read" "Write"))
  (dict "type" "group" "name" (print $own "ledger") "operations" (list "Describe"))
  $readers
  (dict "type" "transactionalId" "name" (print $own "ledger") "operations" (list "Write") "isPrefix" true)) -}}
{{- else if eq .role "reader" -}}
{{- $acls = $sources -}}
{{- range list "rules" "checkpoints" "signals" "dead_letters" -}}
{{- $acls = append $acls (dict "type" "topic" "name" (print $own .) "operations" (list "Read")) -}}
{{- end -}}
{{- $acls = concat $acls (list
  (dict "type" "topic" "name" (print $own "facts") "operations" (list "Describe"))
  (dict "type" "group" "name" (print $own "ingest") "operations" (list "Describe"))
  (dict "type" "group" "name" (print $own "sessions") "operations" (list "Describe"))
  $readers) -}}
{{- end -}}
{{- range $acls -}}
{{- include "betrace.acl" . -}}
{{- end -}}
{{- end -}}
