"""Tests files of spans."""

from __future__ import annotations

import json

import pytest

from dsl import Event, Interest, Span
from streams.decode.decoder import Decoded
from streams.inspect.spans_file import FILE_TRACE_ID, read

FILE_TRACE = bytes.fromhex(FILE_TRACE_ID)
NOON_NS = 1_767_614_400_000_000_000
SECOND_NS = 1_000_000_000
ALL = Interest(
    names=frozenset(), every_span=True, attributes=frozenset({"a", "b", "c", "d", "e", "f", "service.name", "zone"})
)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def spans(*lines: object, interest: Interest = ALL) -> list[Span]:
    """Returns the spans in lines with these objects, all of one trace."""
    [trace] = decoded(*lines, interest=interest).traces.values()
    return trace.spans


def decoded(*lines: object, interest: Interest = ALL) -> Decoded:
    """Returns what is reported for lines with these objects."""
    return all_of([json.dumps(line).encode() + b"\n" for line in lines], interest)


def all_of(lines: list[bytes], interest: Interest = ALL) -> Decoded:
    """Returns the result for lines that can all be read."""
    found = read(lines, interest, file="spans.jsonl")
    assert found.unread == []
    return found.decoded


def test_name_alone() -> None:
    """A span needs only a name: it is a root of the file's trace, has a span id and starts at its line's second."""
    expected = [
        Span("pay", span_id=bytes(7) + b"\x01", identity=bytes(7) + b"\x01", start_ns=NOON_NS),
        Span("get", span_id=bytes(7) + b"\x02", identity=bytes(7) + b"\x02", start_ns=NOON_NS + SECOND_NS),
    ]

    actual = decoded({"name": "pay"}, {"name": "get"})

    assert list(actual.traces) == [FILE_TRACE]
    assert actual.traces[FILE_TRACE].spans == expected
    assert actual.traces[FILE_TRACE].root_seen


def test_everything_given() -> None:
    """Every field of a simple span is what rules read under that name."""
    line = {
        "trace_id": TRACE,
        "span_id": "b7ad6b7169203331",
        "parent_span_id": "00f067aa0ba902b7",
        "name": "pay",
        "service": "shop",
        "kind": "server",
        "status": "error",
        "start": "2026-01-05T13:00:00.123456789+01:00",
        "end": NOON_NS + SECOND_NS,
        "attributes": {"a": "text", "b": True, "c": 7, "d": 1.5, "e": [1, "x", None], "f": {"k": {"l": []}}, "g": 1},
        "resource": {"zone": "eu"},
        "events": ["tick", {"name": "tock", "attributes": {"a": 1}, "time": 7}],
    }

    actual = decoded(line)

    assert actual.traces[bytes.fromhex(TRACE)].spans == [
        Span(
            "pay",
            span_id=bytes.fromhex("b7ad6b7169203331"),
            parent_id=bytes.fromhex("00f067aa0ba902b7"),
            start_ns=NOON_NS + 123_456_789,
            end_ns=NOON_NS + SECOND_NS,
            attributes={"a": "text", "b": True, "c": 7, "d": 1.5, "e": [1, "x", None], "f": {"k": {"l": []}}},
            events=(Event("tick"), Event("tock", {"a": 1}, 7)),
            resource={"service.name": "shop", "zone": "eu"},
            kind="server",
            status="error",
            identity=bytes.fromhex("b7ad6b7169203331"),
        )
    ]
    assert not actual.traces[bytes.fromhex(TRACE)].root_seen


def test_nulls_and_empty_ids() -> None:
    """Null, and an empty id, count as absent."""
    line = {"name": "pay", "trace_id": None, "span_id": "", "parent_span_id": "", "kind": None, "start": None}

    assert spans(line) == spans({"name": "pay"})


def test_requests_and_simple_spans_together() -> None:
    """OTLP/JSON lines of the Collector's file exporter and simple spans form common traces."""
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": TRACE, "name": "get"}]}]}]}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": TRACE}, {}]}]}]}

    actual = decoded({"name": "pay", "trace_id": TRACE, "parent_span_id": "00f067aa0ba902b7"}, request, logs)

    assert actual.traces[bytes.fromhex(TRACE)].root_seen
    assert [span.name for span in actual.traces[bytes.fromhex(TRACE)].spans] == ["pay", "get", ""]
    assert (actual.span_count, actual.logs_without_trace) == (3, 1)


def test_only_spans_of_interest() -> None:
    """Spans that no rule names are only counted."""
    interest = Interest(names=frozenset({"pay"}), every_span=False, attributes=frozenset())

    actual = decoded({"name": "pay", "attributes": {"a": 1}}, {"name": "get"}, interest=interest)

    assert actual.span_count == 2
    assert [(span.name, span.attributes) for span in actual.traces[FILE_TRACE].spans] == [("pay", {})]


def test_blank_lines_and_byte_order_mark() -> None:
    """Blank lines and a byte order mark are ignored, but every line counts."""
    actual = all_of([b'\xef\xbb\xbf{"name":"pay"}\r\n', b" \n", b"", b'{"name":"get"}'])

    starts = [span.start_ns for span in actual.traces[FILE_TRACE].spans]
    assert starts == [NOON_NS, NOON_NS + 3 * SECOND_NS]


def test_no_lines() -> None:
    """A file without lines has no traces."""
    assert all_of([]) == Decoded()


def test_damaged_text() -> None:
    """Half a surrogate pair and invalid UTF-8 become U+FFFD."""
    actual = all_of([b'{"name":"a\\ud800b\xff"}'])

    assert [span.name for span in actual.traces[FILE_TRACE].spans] == ["a\ufffdb\ufffd"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not json: input data was truncated"),
        (b"pay", "not json: invalid character (byte 0)"),
        (b"[]", "not a span: expected `object`, got `array`"),
        (b"{}", "not a span: `name` is not text"),
        (b'{"name":7}', "not a span: `name` is not text"),
        (b'{"name":"x","nmae":"y"}', "not a span: unknown key `nmae`"),
        (b'{"name":"x","kind":"x"}', "not a span: `kind` is not one of internal, server, client, producer, consumer"),
        (b'{"name":"x","trace_id":"t1"}', "trace_id is 't1', must be 32 hexadecimal digits"),
        (b'{"name":"x","trace_id":"%s"}' % (b"0" * 32), "no span has a valid trace id"),
        (b'{"name":"x","parent_span_id":"1"}', "parent_span_id is '1', must be 16 hexadecimal digits"),
        (
            b'{"name":"x","start":"noon"}',
            "not a span: `start` is not a time: ISO 8601 text or Unix nanoseconds",
        ),
        (b'{"name":"x","attributes":%s1%s}' % (b'{"a":' * 9999, b"}" * 9999), "json is nested too deep"),
        (b'{"resourceSpans":7}', "not otlp json: expected `array`, got `int` - at `$.resourceSpans`"),
    ],
)
def test_bad_line(line: bytes, reason: str) -> None:
    """A line that cannot be read is named with its file, number and reason; the other lines are read."""
    found = read([b'{"name":"pay"}', line, b'{"name":"get"}'], ALL, file="spans.jsonl")

    assert [f"spans.jsonl:2: {reason}"] == found.unread
    assert ["pay", "get"] == [span.name for span in found.decoded.traces[FILE_TRACE].spans]


@pytest.mark.parametrize(
    "start",
    [
        "2026-13-05T12:00:00Z",
        "2026-01-05T12:00:60Z",
        "9999-12-31T23:59:59Z",
        "2026-01-05T12:00:00+99:00",
        "0001-01-01T00:00:00+14:00",
        "2026-01-05T12:00:00.1234567890Z",
        "٢٠٢٦-01-05T12:00:00Z",
        "2026-01-05T12:00:00.5.5Z",
        True,
        1.5,
        1 << 64,
        -(1 << 63) - 1,
    ],
)
def test_bad_time(start: object) -> None:
    """A time is refused unless it is ISO 8601 or nanoseconds, and fits 64 bits of them."""
    found = read([json.dumps({"name": "pay", "start": start}).encode()], ALL, file="spans.jsonl")

    assert ["spans.jsonl:1: not a span: `start` is not a time: ISO 8601 text or Unix nanoseconds"] == found.unread


@pytest.mark.parametrize(
    "start", ["2026-01-05T12:00:00Z", "2026-01-05 12:00:00z", "2026-01-05t07:00:00.0-05:00", NOON_NS]
)
def test_time(start: object) -> None:
    """A time is RFC 3339 text in any zone, or Unix nanoseconds."""
    assert [span.start_ns for span in spans({"name": "pay", "start": start})] == [NOON_NS]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("1969-12-31T23:59:59.999999999Z", -1),
        (-1, -1),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * SECOND_NS),
        ("2017-01-01T00:59:60.5+01:00", 1_483_228_800 * SECOND_NS + SECOND_NS // 2),
        ("2026-01-05", NOON_NS - 12 * 3600 * SECOND_NS),
        ("2026-01-05T12:00", NOON_NS),
        (0, None),
    ],
)
def test_unusual_times(start: object, expected: int | None) -> None:
    """Times before 1970, leap seconds, days and times without a zone are refused; 0 means no time, as on the wire."""
    assert [span.start_ns for span in spans({"name": "pay", "start": start})] == [expected]


def test_log_record() -> None:
    """A line may be a log record, as in the tests of rule files."""
    [log] = spans({"name": "login", "log": {"body": "failed", "severity": "WARN"}, "attributes": {"a": 1}})

    assert (True, "failed", "WARN", {"a": 1}) == (log.is_log, log.log_body, log.log_severity, log.attributes)
    assert not decoded({"log": {}}).traces[FILE_TRACE].root_seen


def test_integers_of_any_size() -> None:
    """An integer beyond 64 bits keeps its value."""
    assert [{"a": 1 << 65}] == [span.attributes for span in spans({"name": "pay", "attributes": {"a": 1 << 65}})]
