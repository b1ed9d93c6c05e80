"""Unusual and damaged protobuf requests, and the distinction between spans and log records."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.otlp_requests import TRACE, delimited, logs_request, trace_request
from topics.otlp import protobuf as otlp_protobuf
from topics.otlp.protobuf import Message
from topics.otlp.requests import NESTING_LIMIT, OtlpError, RecordKind, Value


def spans(request: bytes) -> list[Message]:
    """Return the spans of a request."""
    groups = otlp_protobuf.read(request).resource_spans
    return [span for sender in groups for scope in sender.scope_spans for span in scope.spans]


def sent(value: Message) -> Value:
    """Return the value of a span's first attribute after a round trip."""
    [span] = spans(trace_request(Span(trace_id=TRACE, attributes=[KeyValue(key="a", value=value)])))
    return otlp_protobuf.value(span.attributes[0].value)


def nested(depth: int) -> bytes:
    """Build an `AnyValue` of nested arrays."""
    value = b""
    for _ in range(depth):
        value = delimited(5, delimited(1, value))
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AnyValue(), None),
        (AnyValue(string_value=""), ""),
        (AnyValue(bool_value=False), False),
        (AnyValue(int_value=0), 0),
        (AnyValue(double_value=-math.inf), -math.inf),
        (AnyValue(bytes_value=b""), b""),
        (AnyValue(array_value=ArrayValue()), []),
        (AnyValue(kvlist_value=KeyValueList()), {}),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(), AnyValue(int_value=1)])), [None, 1]),
        (AnyValue(string_value_strindex=3), None),
    ],
)
def test_value(value: AnyValue, expected: Value) -> None:
    """A value is the one that was set, even if empty; a value of an unknown type is None."""
    assert expected == sent(value)


def test_value_that_is_not_a_number() -> None:
    """All NaNs are equal, whatever their bits."""
    actual = sent(AnyValue(double_value=-math.nan))

    assert isinstance(actual, float)
    assert id(actual) == id(math.nan)


def test_first_of_a_key_counts() -> None:
    """If a key-value list repeats a key, the first pair counts."""
    pairs = [KeyValue(key="a", value=AnyValue(int_value=number)) for number in (1, 2)]

    assert sent(AnyValue(kvlist_value=KeyValueList(values=pairs))) == {"a": 1}


@pytest.mark.parametrize("depth", [NESTING_LIMIT + 1, 1000])
def test_nesting_limit(depth: int) -> None:
    """A value nested beyond the limit is None, and the span is read."""
    attribute = delimited(1, b"a") + delimited(2, nested(depth))
    [span] = spans(delimited(1, delimited(2, delimited(2, delimited(1, TRACE) + delimited(9, attribute)))))

    actual = otlp_protobuf.value(span.attributes[0].value)

    for _ in range(NESTING_LIMIT):
        assert isinstance(actual, list)
        actual = actual[0]
    assert actual is None


def test_nested_invalid_bytes() -> None:
    """A nested value with invalid bytes is None, and the span is read."""
    attribute = delimited(1, b"a") + delimited(2, delimited(5, b"\xff"))
    [span] = spans(delimited(1, delimited(2, delimited(2, delimited(1, TRACE) + delimited(9, attribute)))))

    assert otlp_protobuf.value(span.attributes[0].value) is None


def test_invalid_utf8() -> None:
    """Invalid UTF-8 becomes U+FFFD in every text field; all other spans and fields are unchanged."""
    damaged = Span(
        trace_id=b"\xff" * 16,
        name="a?b",
        trace_state="?",
        attributes=[KeyValue(key="?", value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="?")])))],
        events=[Span.Event(name="?")],
        links=[Span.Link(trace_state="?")],
    )
    request = trace_request(damaged, Span(trace_id=TRACE, name="whole")).replace(b"?", b"\xff")

    first, second = spans(request)

    assert (first.trace_id, first.name, first.events[0].name) == (b"\xff" * 16, "a\ufffdb", "\ufffd")
    assert first.attributes[0].key == "\ufffd"
    assert otlp_protobuf.value(first.attributes[0].value) == ["\ufffd"]
    assert (second.trace_id, second.name) == (TRACE, "whole")


@pytest.mark.parametrize("kind", RecordKind)
def test_kinds_are_distinguished(kind: RecordKind) -> None:
    """Spans are read as spans and log records as log records, whatever the kind of the topic."""
    some_spans = [
        Span(trace_id=TRACE),
        Span(span_id=b"a" * 8),
        Span(start_time_unix_nano=1, name="pay", attributes=[KeyValue(key="a")]),
        Span(end_time_unix_nano=1, attributes=[KeyValue(key="k", value=AnyValue(string_value="eleven char"))]),
    ]
    some_logs = [
        LogRecord(time_unix_nano=1, trace_id=TRACE),
        LogRecord(observed_time_unix_nano=1, body=AnyValue(string_value="paid")),
        LogRecord(severity_number=SeverityNumber.SEVERITY_NUMBER_INFO, event_name="pay"),
        LogRecord(span_id=b"a" * 8),
    ]

    from_spans = [otlp_protobuf.read(trace_request(span), kind) for span in some_spans]
    from_logs = [otlp_protobuf.read(logs_request(log), kind) for log in some_logs]

    assert all(request.resource_spans and not request.resource_logs for request in from_spans)
    assert all(request.resource_logs and not request.resource_spans for request in from_logs)


@pytest.mark.parametrize("kind", RecordKind)
def test_kind_of_an_empty_record(kind: RecordKind) -> None:
    """An empty record can be either; it gets the kind of the topic."""
    request = otlp_protobuf.read(trace_request(Span()), kind)

    assert bool(request.resource_spans) == (kind is RecordKind.SPANS)


@given(trace_id=st.binary(min_size=16, max_size=16) | st.just(delimited(1, b"key") + delimited(2, bytes(9))))
def test_no_log_record_is_a_span(trace_id: bytes) -> None:
    """No trace id makes a log record look like a span, although its field number is that of a span's attributes."""
    assert otlp_protobuf.read(logs_request(LogRecord(time_unix_nano=1, trace_id=trace_id))).resource_logs


def test_damage_in_ignored_fields_has_no_effect() -> None:
    """Links are ignored, so damage in them has no effect."""
    span = delimited(1, TRACE) + delimited(13, b"\xff\xff")

    assert len(spans(delimited(1, delimited(2, delimited(2, span))))) == 1


@pytest.mark.parametrize("request_", [b"\x0a\x05ab", b"\xff", b"\x0b", delimited(1, delimited(2, b"\x12\x01\x0f"))])
def test_not_protobuf(request_: bytes) -> None:
    """Bytes that are not a protobuf message are refused."""
    with pytest.raises(OtlpError, match=r"^not protobuf$"):
        otlp_protobuf.read(request_)
