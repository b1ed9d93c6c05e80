"""Projects spans to facts.

In: decoded traces, or the OTLP request they came in. Out: the facts that rules require (`project`), after redaction
(`redact`) and within the budget of a record (`budget`), and the records of the audit trail (`audit_records`). No clock,
no I/O.

Start reading at `streams.projection.project`.
"""
