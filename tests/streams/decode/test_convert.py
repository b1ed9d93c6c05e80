"""Spans and log records as rules read them."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from dsl import Event, Interest, Span, Value
from streams.decode.convert import severity_name
from tests.support.decoding import decode
from tests.support.otlp_requests import SPAN, TRACE, attributes, logs_request, trace_request
from topics.otlp.protobuf import Message

WANTED = Interest(names=frozenset(), every_span=True, attributes=frozenset({"a", "service.name"}))


def text(key: str, value: str) -> Message:
    """Create an attribute with a text."""
    return KeyValue(key=key, value=AnyValue(string_value=value))


def only_span(request: bytes, interest: Interest = WANTED) -> Span:
    """Return the one span of a request."""
    [trace] = decode(request, interest).traces.values()
    [span] = trace.spans
    return span


def test_span() -> None:
    """A span has everything that rules read: all fields, but only the attributes of interest."""
    sent = trace_pb2.Span(
        trace_id=TRACE,
        span_id=SPAN,
        parent_span_id=b"parentid",
        name="pay",
        kind=trace_pb2.Span.SPAN_KIND_SERVER,
        start_time_unix_nano=7,
        end_time_unix_nano=5,
        attributes=[text("a", "1"), text("b", "2")],
        events=[
            trace_pb2.Span.Event(name="tick", time_unix_nano=6, attributes=[text("a", "3"), text("b", "4")]),
            trace_pb2.Span.Event(name="tock"),
        ],
        status=Status(code=Status.STATUS_CODE_ERROR, message="refused"),
    )

    actual = only_span(trace_request(sent, resource=Resource(attributes=[text("service.name", "shop"), text("b", "")])))

    assert actual == Span(
        name="pay",
        span_id=SPAN,
        parent_id=b"parentid",
        start_ns=7,
        end_ns=5,
        attributes={"a": "1"},
        events=(Event("tick", {"a": "3"}, 6), Event("tock")),
        resource={"service.name": "shop"},
        kind="server",
        status="error",
        status_message="refused",
        identity=SPAN,
    )


def test_empty_span() -> None:
    """Fields that were not sent are absent, and an all-zero parent is none."""
    found = only_span(trace_request(trace_pb2.Span(trace_id=TRACE, parent_span_id=bytes(8))))

    assert Span(name="", identity=found.identity) == found


def test_log_record() -> None:
    """A log record reads as a span with a body and a severity, and its own identity."""
    log = LogRecord(
        trace_id=TRACE,
        span_id=SPAN,
        event_name="pay",
        time_unix_nano=7,
        observed_time_unix_nano=9,
        severity_number=SeverityNumber.SEVERITY_NUMBER_WARN2,
        body=AnyValue(string_value="paid"),
        attributes=[text("a", "1"), text("b", "2")],
    )
    scope = ScopeLogs(scope=InstrumentationScope(name="lib", attributes=[text("a", "5")]), log_records=[log])
    group = ResourceLogs(resource=Resource(attributes=[text("service.name", "shop")]), scope_logs=[scope])

    actual = only_span(LogsData(resource_logs=[group]).SerializeToString())

    assert len(actual.identity) == 16
    assert actual == Span(
        name="pay",
        span_id=SPAN,
        start_ns=7,
        attributes={"a": "1"},
        resource={"service.name": "shop"},
        scope={"a": "5"},
        scope_name="lib",
        is_log=True,
        log_body="paid",
        log_severity="WARN2",
        identity=actual.identity,
    )


def test_time_of_log_record() -> None:
    """A log record without a time has the time of its observation."""
    assert only_span(logs_request(LogRecord(trace_id=TRACE, observed_time_unix_nano=9))).start_ns == 9
    assert only_span(logs_request(LogRecord(trace_id=TRACE, span_id=SPAN))).start_ns is None


@pytest.mark.parametrize(
    ("event_name", "attribute", "expected"),
    [
        ("pay", text("event.name", "get"), "pay"),
        ("", text("event.name", "get"), "get"),
        ("", KeyValue(key="event.name", value=AnyValue(int_value=1)), ""),
        ("", text("name", "get"), ""),
    ],
)
def test_name_of_log_record(event_name: str, attribute: Message, expected: str) -> None:
    """A log record's name is its event name, else the text of its attribute `event.name`."""
    log = LogRecord(trace_id=TRACE, time_unix_nano=1, event_name=event_name, attributes=[attribute])

    assert expected == only_span(logs_request(log)).name


def test_log_record_of_interest_by_its_attribute_event_name() -> None:
    """Rules that name an event look at log records with the name as an attribute."""
    log = LogRecord(trace_id=TRACE, time_unix_nano=1, attributes=[text("event.name", "audit.log")])
    interest = Interest(names=frozenset({"audit.log"}), every_span=False, attributes=frozenset())

    assert only_span(logs_request(log), interest).name == "audit.log"


@given(sent=attributes, order=st.randoms(use_true_random=False))
def test_identity_is_the_same_for_a_copy(sent: list[Message], order: Random) -> None:
    """A log record sent twice has one identity, whatever the order of its attributes and the interest."""
    distinct = list({attribute.key: attribute for attribute in sent}.values())
    shuffled = order.sample(distinct, len(distinct))
    narrow = Interest(names=frozenset(), every_span=True, attributes=frozenset())

    first = only_span(logs_request(LogRecord(trace_id=TRACE, time_unix_nano=1, attributes=distinct)))
    second = only_span(logs_request(LogRecord(trace_id=TRACE, time_unix_nano=1, attributes=shuffled)), narrow)

    assert first.identity == second.identity


def test_identity_tells_log_records_apart() -> None:
    """Log records that differ in span, time, event name, or any attribute's key, value or type differ in identity."""
    logs = [
        LogRecord(time_unix_nano=1),
        LogRecord(time_unix_nano=2),
        LogRecord(time_unix_nano=1, span_id=SPAN),
        LogRecord(time_unix_nano=1, event_name="pay"),
        LogRecord(time_unix_nano=1, attributes=[text("x", "1")]),
        LogRecord(time_unix_nano=1, attributes=[text("y", "1")]),
        LogRecord(time_unix_nano=1, attributes=[KeyValue(key="x", value=AnyValue(int_value=1))]),
        LogRecord(time_unix_nano=1, attributes=[KeyValue(key="x", value=AnyValue(bytes_value=b"1"))]),
        LogRecord(time_unix_nano=1, attributes=[KeyValue(key="x")]),
    ]
    for log in logs:
        log.trace_id = TRACE

    identities = {only_span(logs_request(log)).identity for log in logs}

    assert len(identities) == len(logs)


def array(key: str, *values: str) -> Message:
    """Create an attribute with an array of texts."""
    items = [AnyValue(string_value=value) for value in values]
    return KeyValue(key=key, value=AnyValue(array_value=ArrayValue(values=items)))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([text("a", "1"), text("a", "2"), text("a", "1")], ["1", "2", "1"]),
        ([array("a", "1", "2"), text("a", "3")], ["1", "2", "3"]),
        ([text("a", "1"), array("a", "2", "3")], ["1", "2", "3"]),
        ([text("a", "1"), KeyValue(key="a", value=AnyValue(int_value=2))], ["1", 2]),
        ([KeyValue(key="a"), text("a", "2")], "2"),
        ([text("a", "2"), KeyValue(key="a")], "2"),
        ([KeyValue(key="a", value=AnyValue(double_value=math.nan)), text("a", "2")], "2"),
        ([KeyValue(key="a"), KeyValue(key="a")], None),
    ],
)
def test_attributes_of_one_key_are_an_array(sent: list[Message], expected: Value) -> None:
    """A sender cannot hide a value behind another of its key, or behind none: all count, in their order."""
    span = trace_pb2.Span(trace_id=TRACE, attributes=sent)
    log = LogRecord(trace_id=TRACE, attributes=sent)

    assert only_span(trace_request(span)).attributes == {"a": expected}
    assert only_span(logs_request(log)).attributes == {"a": expected}


def test_identity_of_a_span_without_an_id() -> None:
    """It covers name, start and all attributes, whatever the interest; a copy has the same."""
    spans = [
        trace_pb2.Span(trace_id=TRACE),
        trace_pb2.Span(trace_id=TRACE, name="pay"),
        trace_pb2.Span(trace_id=TRACE, name="pay", start_time_unix_nano=1),
        trace_pb2.Span(trace_id=TRACE, name="pay", attributes=[text("x", "1")]),
        trace_pb2.Span(trace_id=TRACE, name="pay", attributes=[text("secret", "1")]),
    ]

    first, again = ([only_span(trace_request(span)).identity for span in spans] for _ in range(2))

    assert first == again
    assert {12} == {len(identity) for identity in first}
    assert len(spans) == len(set(first))


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, None), (1, "TRACE"), (5, "DEBUG"), (10, "INFO2"), (24, "FATAL4"), (25, None), (-1, None)],
)
def test_severity_name(number: int, expected: str | None) -> None:
    """Each of the 24 severity numbers has OpenTelemetry's short name, and no other number has one."""
    assert expected == severity_name(number)
