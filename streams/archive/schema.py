"""Defines the columns of an archive file.

A row is a span, or a log record that carries a trace id. The bytes of its source record (`key`, `headers`, `value`) are
in the first of the record's rows: replay decodes them again, SQL reads the other columns. A record without any such
span is one row without a span; `unreadable` says why if it cannot be decoded.

    partition, offset, timestamp_ms   the record's position and Kafka timestamp, Unix ms
    trace_id                          16 bytes; NULL in a row without a span
    names                             what `has(x)` may match, except the span's name: the keys of its
                                      attributes, its resource and its scope, and the names of its events, each
                                      between two line feeds
    span_id, parent_id                bytes, NULL when absent; a root's parent is absent
    start_ns, end_ns                  Unix ns, NULL when absent
    attributes                        MAP from key to the value's text; `attribute_types` holds a letter per key, in
                                      the order of the keys (`streams.archive.typed`)
    events                            the name, `time_ns` and attributes of each span event
    resource, scope                   MAP from key to the value's text, for people
    origin                            the same two with their types, as one text that most spans of a service share:
                                      reading the maps of all rows costs ten times as much
    service                           the resource's `service.name`, where it is text
"""

from __future__ import annotations

import pyarrow as pa

FORMAT = "3"
"""The version of these columns."""

OLDER = frozenset({"1", "2"})
"""Versions whose records are read, but not their columns: in 1 only the first attribute with a key counted, and in 2
events had no time.
"""

FORMAT_KEY = "betrace.format"
TOPIC_ID_KEY = "betrace.topic_id"
RUN_BACK_KEY = "betrace.run_back_ms"
"""In each file's metadata: `FORMAT`, the topic's id, and how far record times run back in the file's cut."""

BETWEEN_NAMES = "\n"

MAP = pa.map_(pa.string(), pa.string())

_ATTRIBUTES = [("attributes", MAP), ("attribute_types", pa.string())]

EVENT = pa.struct([("name", pa.string()), ("time_ns", pa.uint64()), *_ATTRIBUTES])
HEADER = pa.struct([("key", pa.string()), ("value", pa.binary())])

RECORD = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("key", pa.binary()),
        ("headers", pa.list_(HEADER)),
        ("value", pa.binary()),
        ("unreadable", pa.string()),
    ]
)
SPAN = pa.schema(
    [
        ("trace_id", pa.binary(16)),
        ("name", pa.string()),
        ("names", pa.string()),
        ("service", pa.string()),
        ("span_id", pa.binary()),
        ("parent_id", pa.binary()),
        ("start_ns", pa.uint64()),
        ("end_ns", pa.uint64()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("status_message", pa.string()),
        ("scope_name", pa.string()),
        ("is_log", pa.bool_()),
        ("log_identity", pa.binary()),
        ("log_severity", pa.string()),
        ("log_body", pa.string()),
        ("log_body_type", pa.string()),
    ]
)
NESTED = pa.schema(
    [
        *_ATTRIBUTES,
        ("events", pa.list_(EVENT)),
        ("resource", MAP),
        ("scope", MAP),
        ("origin", pa.string()),
    ]
)
SCHEMA = pa.schema([*RECORD, *SPAN, *NESTED])
