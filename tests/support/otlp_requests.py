"""OTLP requests for tests: any that a sender may make, and each in the encodings it may arrive in."""

from __future__ import annotations

import base64

import msgspec
from google.protobuf.json_format import MessageToDict
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from topics.otlp.protobuf import Message

TRACE = bytes(range(16))
SPAN = bytes(range(8))
LENGTH_DELIMITED = 2

keys = st.sampled_from(("audit.log", "user.id", "service.name", "event.name", "é")) | st.text(max_size=3)
trace_ids = st.sampled_from((TRACE, TRACE, bytes(15) + b"a", bytes(16), b"short", b""))
span_ids = st.sampled_from((SPAN, bytes(8), b"", b"odd")) | st.binary(min_size=8, max_size=8)
times = st.sampled_from((0, 1, 1_795_246_553_103_750_063, (1 << 64) - 1))
scalars = (
    st.builds(AnyValue)
    | st.builds(AnyValue, string_value=st.text(max_size=5))
    | st.builds(AnyValue, bool_value=st.booleans())
    | st.builds(AnyValue, int_value=st.integers(-(1 << 63), (1 << 63) - 1))
    | st.builds(AnyValue, double_value=st.floats())
    | st.builds(AnyValue, bytes_value=st.binary(max_size=5))
)


def _nested(values: st.SearchStrategy[Message]) -> st.SearchStrategy[Message]:
    pairs = st.lists(st.builds(KeyValue, key=keys, value=values), max_size=3)
    array = st.builds(ArrayValue, values=st.lists(values, max_size=3))
    return st.builds(AnyValue, array_value=array) | st.builds(
        AnyValue, kvlist_value=st.builds(KeyValueList, values=pairs)
    )


values = st.recursive(scalars, _nested, max_leaves=5)
attributes = st.lists(st.builds(KeyValue, key=keys, value=values), max_size=4)
spans = st.builds(
    Span,
    trace_id=trace_ids,
    span_id=span_ids,
    parent_span_id=span_ids,
    name=keys,
    kind=st.sampled_from((0, 1, 2, 3, 4, 5, 99)),
    start_time_unix_nano=times,
    end_time_unix_nano=times,
    attributes=attributes,
    events=st.lists(st.builds(Span.Event, name=keys, time_unix_nano=times, attributes=attributes), max_size=2),
    links=st.lists(st.builds(Span.Link, trace_id=trace_ids), max_size=1),
    status=st.builds(Status, message=st.text(max_size=3), code=st.sampled_from((0, 1, 2, 7))),
)
logs = st.builds(
    LogRecord,
    trace_id=trace_ids,
    span_id=span_ids,
    event_name=st.just("") | keys,
    time_unix_nano=times,
    observed_time_unix_nano=times,
    severity_number=st.sampled_from((0, 1, 9, 24, 99)),
    severity_text=st.sampled_from(("", "INFO", "notice")),
    body=values,
    attributes=attributes,
)
resources = st.builds(Resource, attributes=attributes)
scopes = st.builds(InstrumentationScope, name=st.text(max_size=3), attributes=attributes)
trace_requests = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=resources,
            scope_spans=st.lists(st.builds(ScopeSpans, scope=scopes, spans=st.lists(spans, max_size=3)), max_size=2),
        ),
        min_size=1,
        max_size=2,
    ),
)
logs_requests = st.builds(
    ExportLogsServiceRequest,
    resource_logs=st.lists(
        st.builds(
            ResourceLogs,
            resource=resources,
            scope_logs=st.lists(st.builds(ScopeLogs, scope=scopes, log_records=st.lists(logs, max_size=3)), max_size=2),
        ),
        min_size=1,
        max_size=2,
    ),
)


def trace_request(*spans: Message, resource: Message = None) -> bytes:
    """A protobuf request with these spans, in one scope of one resource."""
    group = ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])
    request: bytes = ExportTraceServiceRequest(resource_spans=[group]).SerializeToString()
    return request


def logs_request(*logs: Message) -> bytes:
    """A protobuf request with these log records, in one scope of one resource."""
    group = ResourceLogs(scope_logs=[ScopeLogs(log_records=logs)])
    request: bytes = ExportLogsServiceRequest(resource_logs=[group]).SerializeToString()
    return request


def as_json(message: Message) -> bytes:
    """The message in OTLP/JSON."""
    return msgspec.json.encode(_with_hex_ids(MessageToDict(message, use_integers_for_enums=True)))


def _with_hex_ids(item: object) -> object:
    if isinstance(item, list):
        return [_with_hex_ids(member) for member in item]
    if not isinstance(item, dict):
        return item
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        key: base64.b64decode(member).hex() if key in ids else _with_hex_ids(member) for key, member in item.items()
    }


def backwards(message: Message) -> bytes:
    """The message in protobuf with the fields of every message in descending order, as the Collector writes them."""
    return b"".join(reversed([_field(message, field, content) for field, content in message.ListFields()]))


def _field(message: Message, field: Message, content: Message) -> bytes:
    if field.message_type is None:
        scalar: bytes = type(message)(**{field.name: content}).SerializeToString()
        return scalar
    items = content if field.is_repeated else [content]
    return b"".join(delimited(field.number, backwards(item)) for item in items)


def delimited(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A protobuf varint."""
    head, last = [], number
    while last > 127:
        head.append(last & 127 | 128)
        last >>= 7
    return bytes([*head, last])
