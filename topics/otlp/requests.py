"""Defines an OTLP request, independent of its encoding.

In: nothing. Out: the types of a request. `topics.otlp.json` reads OTLP/JSON into these structs; `topics.otlp.protobuf`
reads protobuf into messages with the same attributes, so the same code walks both. Only attribute values differ:
convert them with `Request.value`.

Guarantee: ids are raw bytes, empty when absent or unreadable; times are Unix nanoseconds, 0 when absent; kinds, status
codes and severities are the numbers of the OTLP enums, 0 when absent. Text never holds a lone surrogate.

Source: OTLP 1.x and its JSON mapping (ids in hexadecimal, 64-bit integers as text or number).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

import msgspec
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from topics.errors import Refusal, RefusalReason

Value: TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
"""A converted attribute value; None when it is empty or unreadable."""

NESTING_LIMIT = 64
"""The maximum depth of nested arrays and key-value lists; deeper values are None."""

MENDED = "\ufffd"
"""The character that replaces damaged text."""

_UINT64_LIMIT = 1 << 64
_INTEGER = re.compile(rb'"?(-?[0-9]{1,20})"?')
_SPAN_KINDS: Mapping[str, int] = dict(trace_pb2.Span.SpanKind.items())
_STATUS_CODES: Mapping[str, int] = dict(trace_pb2.Status.StatusCode.items())
_SEVERITIES: Mapping[str, int] = dict(logs_pb2.SeverityNumber.items())
_EMPTY = msgspec.Raw(b"{}")
_ZERO = msgspec.Raw(b"0")


class OtlpError(ValueError):
    """A value is not an OTLP request; `refusal` says why, the same for equal kinds of damage."""

    def __init__(self, reason: RefusalReason, detail: str | None = None) -> None:
        self.refusal = Refusal(reason, detail)
        super().__init__(str(self.refusal))


class RecordKind(Enum):
    """The kind of the records in a request."""

    SPANS = "spans"
    LOGS = "logs"


class Request(NamedTuple):
    """One request: its spans and log records, and the function that converts the values of their attributes."""

    resource_spans: Sequence[ResourceSpans]
    resource_logs: Sequence[ResourceLogs]
    value: Callable[[msgspec.Raw], Value]


class KeyValue(msgspec.Struct):
    """One attribute; callers convert the value only when they need it."""

    key: str = ""
    value: msgspec.Raw = _EMPTY


class Resource(msgspec.Struct, frozen=True):
    """The sender of the records."""

    attributes: Sequence[KeyValue] = ()


class Scope(msgspec.Struct, frozen=True):
    """The instrumentation scope that created the records."""

    name: str = ""
    attributes: Sequence[KeyValue] = ()


class Event(msgspec.Struct):
    """A span event."""

    name: str = ""
    attributes: Sequence[KeyValue] = ()
    raw_time: msgspec.Raw = msgspec.field(default=_ZERO, name="timeUnixNano")

    @property
    def time_unix_nano(self) -> int:
        """The time of the event."""
        return _time_ns(self.raw_time)


class Status(msgspec.Struct, frozen=True):
    """How a span ended."""

    message: str = ""
    raw_code: msgspec.Raw = msgspec.field(default=_ZERO, name="code")

    @property
    def code(self) -> int:
        """The number of the status code."""
        return _enum_number(self.raw_code, _STATUS_CODES)


class Span(msgspec.Struct, rename="camel", kw_only=True):
    """One span."""

    name: str = ""
    attributes: Sequence[KeyValue] = ()
    events: Sequence[Event] = ()
    status: Status = Status()
    trace_id_text: str | None = msgspec.field(default=None, name="traceId")
    span_id_text: str | None = msgspec.field(default=None, name="spanId")
    parent_span_id_text: str | None = msgspec.field(default=None, name="parentSpanId")
    raw_kind: msgspec.Raw = msgspec.field(default=_ZERO, name="kind")
    raw_start: msgspec.Raw = msgspec.field(default=_ZERO, name="startTimeUnixNano")
    raw_end: msgspec.Raw = msgspec.field(default=_ZERO, name="endTimeUnixNano")

    @property
    def trace_id(self) -> bytes:
        """The trace id; empty when its text is not hexadecimal."""
        return _trace_id(self.trace_id_text)

    @property
    def span_id(self) -> bytes:
        """The span id."""
        return _span_id(self.span_id_text)

    @property
    def parent_span_id(self) -> bytes:
        """The parent's span id, empty for a root."""
        return _span_id(self.parent_span_id_text)

    @property
    def kind(self) -> int:
        """The number of the span kind."""
        return _enum_number(self.raw_kind, _SPAN_KINDS)

    @property
    def start_time_unix_nano(self) -> int:
        """The start time."""
        return _time_ns(self.raw_start)

    @property
    def end_time_unix_nano(self) -> int:
        """The end time."""
        return _time_ns(self.raw_end)


class LogRecord(msgspec.Struct, rename="camel", kw_only=True):
    """One log record."""

    attributes: Sequence[KeyValue] = ()
    body: msgspec.Raw = _EMPTY
    event_name: str = ""
    severity_text: str = ""
    trace_id_text: str | None = msgspec.field(default=None, name="traceId")
    span_id_text: str | None = msgspec.field(default=None, name="spanId")
    raw_severity: msgspec.Raw = msgspec.field(default=_ZERO, name="severityNumber")
    raw_time: msgspec.Raw = msgspec.field(default=_ZERO, name="timeUnixNano")
    raw_observed_time: msgspec.Raw = msgspec.field(default=_ZERO, name="observedTimeUnixNano")

    @property
    def trace_id(self) -> bytes:
        """The trace id; empty when its text is not hexadecimal."""
        return _trace_id(self.trace_id_text)

    @property
    def span_id(self) -> bytes:
        """The id of the span in which the record was written."""
        return _span_id(self.span_id_text)

    @property
    def severity_number(self) -> int:
        """The number of the severity."""
        return _enum_number(self.raw_severity, _SEVERITIES)

    @property
    def time_unix_nano(self) -> int:
        """The time of the event."""
        return _time_ns(self.raw_time)

    @property
    def observed_time_unix_nano(self) -> int:
        """The time at which the event was collected."""
        return _time_ns(self.raw_observed_time)


class ScopeSpans(msgspec.Struct, rename="camel"):
    """The spans of one scope."""

    scope: Scope = Scope()
    spans: Sequence[Span] = ()


class ResourceSpans(msgspec.Struct, rename="camel"):
    """The spans of one resource."""

    resource: Resource = Resource()
    scope_spans: Sequence[ScopeSpans] = ()


class ScopeLogs(msgspec.Struct, rename="camel"):
    """The log records of one scope."""

    scope: Scope = Scope()
    log_records: Sequence[LogRecord] = ()


class ResourceLogs(msgspec.Struct, rename="camel"):
    """The log records of one resource."""

    resource: Resource = Resource()
    scope_logs: Sequence[ScopeLogs] = ()


def integer(raw: bytes) -> int | None:
    """Return the integer in JSON bytes, a number or text; None for anything else and for more than 20 digits.

    >>> integer(b'"-7"'), integer(b"7"), integer(b"7.5"), integer(b"null")
    (-7, 7, None, None)
    """
    match = _INTEGER.fullmatch(raw)
    return int(match[1]) if match else None


def _time_ns(raw: msgspec.Raw) -> int:
    time_ns = integer(bytes(raw))
    return time_ns if time_ns is not None and 0 <= time_ns < _UINT64_LIMIT else 0


def _enum_number(raw: msgspec.Raw, numbers: Mapping[str, int]) -> int:
    number = integer(bytes(raw))
    return numbers.get(bytes(raw).strip(b'"').decode(), 0) if number is None else number


def _trace_id(text: str | None) -> bytes:
    try:
        return binascii.unhexlify(text or "")
    except ValueError:
        return b""


def _span_id(text: str | None) -> bytes:
    # Keep text that is not hexadecimal: a span with an unreadable parent is not a root, and its own id still
    # distinguishes it from others.
    try:
        return binascii.unhexlify(text or "")
    except ValueError:
        return (text or "").encode()
