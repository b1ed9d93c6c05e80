"""Writes signals in the formats that a SIEM reads.

In: a finding (`topics.signals.finding`). Out: OCSF, ECS or CEF, with one sentence in plain English (`sentence`), within
the size limit of a record (`truncate`). `schemas/` has the JSON Schema of each JSON format; `digest` reads signals of
all formats back.

Start reading at `topics.signals.finding`, then `topics.signals.ocsf`.
"""
