"""Reads OTLP export requests, in protobuf and in JSON.

In: the value of a source record. Out: a `Request` (`topics.otlp.requests`), which is the same for both encodings, or an
`OtlpError` with the reason (`topics.errors`).

Start reading at `topics.otlp.requests`.
"""
