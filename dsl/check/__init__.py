"""Checks rules that parse.

In: drafts and their nodes. Out: errors and warnings (`dsl.problems`). `check` rejects what cannot be compiled, `lint`
warns of probable mistakes, `meaning` defines the kinds of rule, and `semconv` knows the names of OpenTelemetry's
semantic conventions.

Start reading at `dsl.check.check`.
"""
