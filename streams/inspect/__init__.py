"""Inspects single traces and the state of an installation.

In: a file of spans (`spans_file`), a trace id (`trace_lookup`), or a cluster (`status`). Out: verdicts without Kafka
(`offline`), what each rule sees of one trace (`explain`), and its spans on a time axis (`waterfall`). `traces` iterates
over a topic, an archive or a file, for programs of users.

Start reading at `streams.inspect.offline`.
"""
