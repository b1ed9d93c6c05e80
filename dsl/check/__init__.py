"""Problems of rules that parse.

In: drafts and their nodes. Out: errors and warnings (`dsl.problems`). `check` refuses what cannot be compiled, `lint`
warns of what is probably a mistake, `semconv` knows the names of OpenTelemetry's semantic conventions.

Start reading at `dsl.check.check`.
"""
