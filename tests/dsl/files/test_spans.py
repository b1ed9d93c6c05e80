"""Spans in simple form."""

from __future__ import annotations

import pytest

from dsl.files.spans import SpanError, read_span
from dsl.judge.span import Event, Span, Value


def test_every_key_is_read() -> None:
    """A span in simple form can have everything that a real one has."""
    span = read_span(
        {
            "trace_id": "00",
            "span_id": "0a0b",
            "parent_span_id": "0c",
            "name": "x",
            "service": "shop",
            "kind": "server",
            "status": "error",
            "status_message": "boom",
            "scope_name": "lib",
            "start": "2026-01-05T12:00:00.5Z",
            "end": 1_767_614_401_000_000_000,
            "attributes": {"a": 1},
            "resource": {"host": "h"},
            "scope": {"s": True},
            "events": [{"name": "e", "attributes": {"k": []}, "time": "2026-01-05T12:00:00.5Z"}, {"name": "f"}],
        }
    )

    expected = Span(
        name="x",
        span_id=b"\x0a\x0b",
        parent_id=b"\x0c",
        start_ns=1_767_614_400_500_000_000,
        end_ns=1_767_614_401_000_000_000,
        attributes={"a": 1},
        events=(Event("e", {"k": []}, 1_767_614_400_500_000_000), Event("f")),
        resource={"host": "h", "service.name": "shop"},
        scope={"s": True},
        scope_name="lib",
        kind="server",
        status="error",
        status_message="boom",
        identity=b"\x0a\x0b",
    )
    assert expected == span


def test_log_record_has_body_severity_and_an_identity_of_its_own() -> None:
    """Two log records of one span are distinguished by their content."""
    one, other = (
        read_span({"name": "x", "span_id": "0a", "attributes": {"n": n}, "log": {"body": "b"}}) for n in (1, 2)
    )

    assert (True, "b", None) == (one.is_log, one.log_body, one.log_severity)
    assert one.identity != other.identity


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2026-01-05T13:00:00+01:00", 1_767_614_400_000_000_000),
        ("2026-01-05T12:00", 1_767_614_400_000_000_000),
        (0, None),
    ],
)
def test_time_is_iso_8601_or_nanoseconds(start: Value, expected: int | None) -> None:
    """A time without a zone is UTC; 0 means no time, as on the wire."""
    assert expected == read_span({"name": "x", "start": start}).start_ns


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "`name` is not text"),
        ({"name": 1}, "`name` is not text"),
        ({"name": "x", "span_id": "zz"}, "`span_id` is not hexadecimal text"),
        ({"name": "x", "start": "noon"}, "`start` is not a time: ISO 8601 text or Unix nanoseconds"),
        ({"name": "x", "start": True}, "`start` is not a time: ISO 8601 text or Unix nanoseconds"),
        ({"name": "x", "kind": "SERVER"}, "`kind` is not one of internal, server, client, producer, consumer"),
        ({"name": "x", "status": "bad"}, "`status` is not one of unset, ok, error"),
        ({"name": "x", "attributes": []}, "`attributes` is not a mapping"),
        ({"name": "x", "events": {}}, "`events` is not a list of {name, attributes, time}"),
        (
            {"name": "x", "events": [{"name": "e", "time": 1.5}]},
            (
                "`events` is not a list of {name, attributes, time}, in which `time` is a time: ISO 8601 text or Unix "
                "nanoseconds"
            ),
        ),
        ({"name": "x", "events": [{"nam": "e"}]}, "`events` is not a list of {name, attributes, time}"),
        ({"name": "x", "log": "body"}, "`log` is not a mapping"),
    ],
)
def test_invalid_span_is_rejected_with_a_reason(fields: dict[str, Value], message: str) -> None:
    """An invalid value is reported with its key and what is expected."""
    with pytest.raises(SpanError) as raised:
        read_span(fields)

    assert message == str(raised.value)
