"""The scalars of OTLP/JSON, as its structs return them."""

from __future__ import annotations

import msgspec
import pytest

from topics.otlp.requests import LogRecord, Span, Status, integer


def span(**fields: object) -> Span:
    """Return a span of a JSON document."""
    return msgspec.json.decode(msgspec.json.encode(fields), type=Span)


@pytest.mark.parametrize(
    ("trace_id", "expected"),
    [
        ("0a" * 16, b"\n" * 16),
        ("0A" * 16, b"\n" * 16),
        ("0a", b"\n"),
        ("", b""),
        (None, b""),
        ("0a " * 16, b""),
        ("zz" * 16, b""),
        ("é" * 32, b""),
    ],
)
def test_trace_id(trace_id: str | None, expected: bytes) -> None:
    """A trace id is hexadecimal in either case; any other text counts as absent."""
    assert expected == span(traceId=trace_id).trace_id


@pytest.mark.parametrize(("parent", "expected"), [("0a0B", b"\n\x0b"), ("", b""), (None, b""), ("odd", b"odd")])
def test_parent_span_id(parent: str | None, expected: bytes) -> None:
    """An unreadable parent is still a parent: its text is kept."""
    assert expected == span(parentSpanId=parent).parent_span_id


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("1795246557141657289", 1_795_246_557_141_657_289),
        (1_795_246_557_141_657_289, 1_795_246_557_141_657_289),
        (str((1 << 64) - 1), (1 << 64) - 1),
        (str(1 << 64), 0),
        (-1, 0),
        (1.5, 0),
        ("soon", 0),
        ("9" * 5000, 0),
        (None, 0),
        (True, 0),
        ([1], 0),
    ],
)
def test_time(start: object, expected: int) -> None:
    """A time is a number or its text; anything but an unsigned 64-bit integer counts as absent."""
    assert expected == span(startTimeUnixNano=start).start_time_unix_nano


def test_time_of_5000_digits() -> None:
    """A number too long for Python to convert is absent, and the rest of the document is read."""
    actual = msgspec.json.decode(b'{"name":"pay","endTimeUnixNano":%s}' % (b"9" * 5000), type=Span)

    assert (actual.name, actual.end_time_unix_nano) == ("pay", 0)


@pytest.mark.parametrize(
    ("kind", "expected"), [(3, 3), ("SPAN_KIND_CLIENT", 3), ("3", 3), (99, 99), ("client", 0), (None, 0), ({}, 0)]
)
def test_kind(kind: object, expected: int) -> None:
    """An enum is a number or a name."""
    assert expected == span(kind=kind).kind


def test_other_enums() -> None:
    """Status codes and severities can be names too."""
    status = msgspec.json.decode(b'{"code":"STATUS_CODE_ERROR"}', type=Status)
    log = msgspec.json.decode(b'{"severityNumber":"SEVERITY_NUMBER_INFO"}', type=LogRecord)

    assert (status.code, log.severity_number) == (2, 9)


def test_empty_records() -> None:
    """An empty span and an empty log record have every field, empty."""
    log = msgspec.json.decode(b"{}", type=LogRecord)

    assert (span().trace_id, span().span_id, span().name, span().status.code) == (b"", b"", "", 0)
    assert (log.trace_id, log.span_id, log.time_unix_nano, log.observed_time_unix_nano) == (b"", b"", 0, 0)


@pytest.mark.parametrize("text", [b"", b'""', b"1e3", b"+1", b" 1", b"1_0", "\u0661".encode(), b"9" * 21, b'"1'[:1]])
def test_not_an_integer(text: bytes) -> None:
    """Only plain decimal digits with an optional sign are an integer."""
    assert integer(text) is None
