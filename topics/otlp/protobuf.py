"""Reads OTLP requests in protobuf.

In: the bytes of an `ExportTraceServiceRequest` or an `ExportLogsServiceRequest`. Out: a `topics.otlp.requests.Request`
of upb messages.

Guarantee: fields may come in any order. Invalid UTF-8 affects only the damaged text, which becomes U+FFFD; a value that
is nested too deep affects only itself. Any other input raises `OtlpError`, never another exception.

The message classes are built from OTLP's own descriptors, with two changes. The elements of an array or a key-value
list stay bytes until a caller converts them, because upb refuses a whole message for one value nested 50 deep. And a
second set of classes reads text as bytes, to repair what the first set refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from topics.errors import RefusalReason
from topics.otlp.requests import NESTING_LIMIT, OtlpError, RecordKind, Request, Value

Message: TypeAlias = Any
"""A upb message; protobuf has no types that mypy can follow."""

_PACKAGE = "opentelemetry.proto."
_REQUESTS = {RecordKind.SPANS: "trace.v1.TracesData", RecordKind.LOGS: "logs.v1.LogsData"}
_ARRAY = "common.v1.ArrayValue"
_KEY_VALUES = "common.v1.KeyValueList"
_LAZY_FIELDS = {"array_value", "kvlist_value"}
_IGNORED_FIELDS = {"links", "entity_refs"}
_SCALAR_FIELDS = {"string_value", "bool_value", "int_value", "bytes_value"}


def _pool(*, text_type: int) -> DescriptorPool:
    """Build a pool of OTLP's descriptors, with text fields of `text_type` and nested values as bytes."""
    pool = DescriptorPool()
    for official in (common_pb2, resource_pb2, trace_pb2, logs_pb2):
        file = FileDescriptorProto.FromString(official.DESCRIPTOR.serialized_pb)
        for message in file.message_type:
            _rewrite(message, text_type)
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _rewrite(message: DescriptorProto, text_type: int) -> None:
    for nested in message.nested_type:
        _rewrite(nested, text_type)
    for field in [field for field in message.field if field.name in _IGNORED_FIELDS]:
        message.field.remove(field)
    for field in message.field:
        if field.type == FieldDescriptorProto.TYPE_STRING:
            field.type = text_type
        elif field.name in _LAZY_FIELDS:
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")


def _classes(pool: DescriptorPool) -> Mapping[str, Message]:
    names = (*_REQUESTS.values(), _ARRAY, _KEY_VALUES)
    return {name: GetMessageClass(pool.FindMessageTypeByName(_PACKAGE + name)) for name in names}


_text_pool = _pool(text_type=FieldDescriptorProto.TYPE_STRING)
_with_text = _classes(_text_pool)
_with_bytes = _classes(_pool(text_type=FieldDescriptorProto.TYPE_BYTES))


def read(request: bytes, kind: RecordKind = RecordKind.SPANS) -> Request:
    """Read the request in protobuf bytes.

    Both kinds of request have the same outer shape, so only their records distinguish them. `kind` is tried first, and
    decides when no record does.

    Raises:
        OtlpError: the bytes are not protobuf, or have none of a request's fields.
    """
    first = _parse(_REQUESTS[kind], request)
    if first is not None and _is_certain(kind, first):
        return _build_request(kind, first)
    other_kind = RecordKind.LOGS if kind is RecordKind.SPANS else RecordKind.SPANS
    other = _parse(_REQUESTS[other_kind], request)
    if other is not None and (first is None or _is_certain(other_kind, other)):
        kind, first = other_kind, other
    if first is None:
        raise OtlpError(RefusalReason.NOT_PROTOBUF)
    _check_content(kind, first)
    return _build_request(kind, first)


def value(any_value: Message) -> Value:
    """Convert an `AnyValue` to a Python value; None when it is empty or cannot be read."""
    return _value(any_value, NESTING_LIMIT)


def array_value(encoded: bytes) -> Value:
    """Convert the bytes of an `AnyValue`'s array to a list; None when they cannot be read."""
    return _array(encoded, NESTING_LIMIT)


def key_values_value(encoded: bytes) -> Value:
    """Convert the bytes of an `AnyValue`'s key-value list to a dict; None when they cannot be read."""
    return _key_values(encoded, NESTING_LIMIT)


def _build_request(kind: RecordKind, message: Message) -> Request:
    if kind is RecordKind.SPANS:
        return Request(message.resource_spans, (), value)
    return Request((), message.resource_logs, value)


def _parse(name: str, encoded: bytes) -> Message | None:
    try:
        return _with_text[name].FromString(encoded)
    except DecodeError:
        pass
    try:
        damaged = _with_bytes[name].FromString(encoded)
        _repair_text(damaged)
        return _with_text[name].FromString(damaged.SerializeToString())
    except DecodeError:
        return None


def _repair_text(damaged: Message) -> None:
    """Replace invalid UTF-8 in every text field, in place."""
    for field, content in damaged.ListFields():
        if isinstance(content, ProtobufMessage):
            _repair_text(content)
        elif field.message_type is not None:
            for item in content:
                _repair_text(item)
        elif _text_pool.FindFieldByName(field.full_name).type == FieldDescriptorProto.TYPE_STRING:
            setattr(damaged, field.name, content.decode("utf-8", "replace").encode())


def _is_certain(kind: RecordKind, request: Message) -> bool:
    """Return whether a record has a field that only records of this kind have.

    upb stores a field with another wire type as unknown. So a log record read as a span has none of these fields, and
    neither has a span read as a log record: the fields with these numbers have different types.
    """
    return _has_span(request) if kind is RecordKind.SPANS else _has_log(request)


def _has_span(request: Message) -> bool:
    for sender in request.resource_spans:
        for scope in sender.scope_spans:
            for span in scope.spans:
                if span.trace_id or span.span_id or span.start_time_unix_nano or span.end_time_unix_nano:
                    return True
    return False


def _has_log(request: Message) -> bool:
    for sender in request.resource_logs:
        for scope in sender.scope_logs:
            for log in scope.log_records:
                if log.time_unix_nano or log.observed_time_unix_nano or log.severity_number or log.span_id:
                    return True
    return False


def _check_content(kind: RecordKind, request: Message) -> None:
    if not request.ListFields():
        raise OtlpError(RefusalReason.NO_RECORDS)
    if _records(kind, request):
        return
    size_bytes = request.ByteSize()
    request.DiscardUnknownFields()
    if request.ByteSize() != size_bytes:
        raise OtlpError(RefusalReason.ONLY_UNKNOWN)


def _records(kind: RecordKind, request: Message) -> list[Message]:
    if kind is RecordKind.SPANS:
        return [span for sender in request.resource_spans for scope in sender.scope_spans for span in scope.spans]
    return [log for sender in request.resource_logs for scope in sender.scope_logs for log in scope.log_records]


def _value(any_value: Message, depth_left: int) -> Value:
    field = any_value.WhichOneof("value")
    if field in _SCALAR_FIELDS:
        scalar: Value = getattr(any_value, field)
        return scalar
    if field == "double_value":
        return math.nan if math.isnan(any_value.double_value) else any_value.double_value
    if field == "array_value":
        return _array(any_value.array_value, depth_left)
    if field == "kvlist_value":
        return _key_values(any_value.kvlist_value, depth_left)
    return None


def _array(encoded: bytes, depth_left: int) -> Value:
    array = _parse(_ARRAY, encoded) if depth_left else None
    return None if array is None else [_value(item, depth_left - 1) for item in array.values]


def _key_values(encoded: bytes, depth_left: int) -> Value:
    pairs = _parse(_KEY_VALUES, encoded) if depth_left else None
    return None if pairs is None else {pair.key: _value(pair.value, depth_left - 1) for pair in reversed(pairs.values)}
