"""Lines of a file of spans to traces, for judging without Kafka.

In: lines, each an OTLP/JSON request or one simple span:

    {"name": "pii.access", "service": "checkout", "attributes": {"user.id": "u-17"}}

A simple span may also have trace_id, span_id, parent_span_id, kind, status, start, end, resource and events. Out: the
same as from source records, all lines taken together: a simple span is written as an OTLP/JSON request and decoded.

What must hold: spans without a trace id make one trace; without a span id or a start, a span gets one that depends on
its line number alone, the starts one second apart. A line that cannot be read is never left out: it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from dsl import Interest
from streams.decode.decoder import Decoded, Format, decode
from streams.errors import ConfigError, RecordError
from topics.otlp.json import mend, reason

FILE_TRACE_ID = f"{1:032x}"
"""The trace of spans that name none."""

_SECOND_NS = 1_000_000_000
_FIRST_START_NS = int(datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp()) * _SECOND_NS
_LAST_NS = (1 << 64) - 1
_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?(?P<zone>[Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_STATUSES = {"unset": 0, "ok": 1, "error": 2}


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    attributes: dict[str, Any] = {}


class _SimpleSpan(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    service: str | None = None
    kind: Literal["internal", "server", "client", "producer", "consumer"] | None = None
    status: Literal["unset", "ok", "error"] = "unset"
    start: int | str | None = None
    end: int | str | None = None
    attributes: dict[str, Any] = {}
    resource: dict[str, Any] = {}
    events: list[str | _Event] = []


_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
_simple_span = msgspec.json.Decoder(_SimpleSpan)


def read(lines: Iterable[bytes], interest: Interest, *, file: str) -> Decoded:
    """The traces in the lines of a file; blank lines are skipped.

    Raises:
        ConfigError: a line cannot be read; the message starts with `file` and the line's number.

    >>> interest = Interest(names=frozenset({"audit.log"}), every_span=False, attributes=frozenset())
    >>> [trace] = read([b'{"name": "audit.log"}', b'{"name": "other"}'], interest, file="spans.jsonl").traces.values()
    >>> trace.span_count, [span.name for span in trace.spans]
    (2, ['audit.log'])
    """
    together = Decoded()
    for line_number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                _add(together, decode(_request(line, line_number), interest, format=Format.JSON))
            except RecordError as error:
                raise ConfigError(f"{file}:{line_number}: {error}") from error
    return together


def _add(together: Decoded, decoded: Decoded) -> None:
    for trace_id, trace in decoded.traces.items():
        known = together.traces.setdefault(trace_id, trace)
        if known is not trace:
            known.span_count += trace.span_count
            known.root_seen |= trace.root_seen
            known.spans += trace.spans
    together.span_count += decoded.span_count
    together.spans_without_trace += decoded.spans_without_trace
    together.logs_without_trace += decoded.logs_without_trace


def _request(line: bytes, line_number: int) -> bytes:
    """The line as an OTLP/JSON request: itself when it is one."""
    text = mend(line.decode("utf-8-sig", "replace"))
    try:
        if not _keys.decode(text).keys().isdisjoint(("resourceSpans", "resourceLogs")):
            return text.encode()
        return msgspec.json.encode(_otlp(_simple_span.decode(text), line_number))
    except RecursionError:
        raise RecordError("json is nested too deep") from None
    except msgspec.ValidationError as error:
        raise RecordError(f"not a span: {reason(error)}") from error
    except msgspec.DecodeError as error:
        raise RecordError(f"not json: {reason(error)}") from error


def _otlp(simple: _SimpleSpan, line_number: int) -> object:
    service = {} if simple.service is None else {"service.name": simple.service}
    events = [_Event(event) if isinstance(event, str) else event for event in simple.events]
    span = {
        "traceId": _hex_id("trace_id", simple.trace_id, digits=32) or FILE_TRACE_ID,
        "spanId": _hex_id("span_id", simple.span_id, digits=16) or f"{line_number:016x}",
        "parentSpanId": _hex_id("parent_span_id", simple.parent_span_id, digits=16),
        "name": simple.name,
        "kind": 0 if simple.kind is None else _KINDS[simple.kind],
        "status": {"code": _STATUSES[simple.status]},
        "startTimeUnixNano": _time_ns("start", simple.start) or _FIRST_START_NS + (line_number - 1) * _SECOND_NS,
        "endTimeUnixNano": _time_ns("end", simple.end),
        "attributes": _key_values(simple.attributes),
        "events": [{"name": event.name, "attributes": _key_values(event.attributes)} for event in events],
    }
    resource = {"attributes": _key_values(service | simple.resource)}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}


def _hex_id(field: str, text: str | None, *, digits: int) -> str | None:
    if text and not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", text):
        raise RecordError(f"{field} is {text!r}, must be {digits} hexadecimal digits")
    return text


def _time_ns(field: str, time: int | str | None) -> int | None:
    """Unix nanoseconds of a time that is such a number, or RFC 3339 text."""
    time_ns = _text_time_ns(time) if isinstance(time, str) else time
    if time is not None and (time_ns is None or not 0 < time_ns <= _LAST_NS):
        raise RecordError(f"{field} is {time!r}, must be a time like 2026-01-05T12:00:00Z or Unix nanoseconds")
    return time_ns


def _text_time_ns(text: str) -> int | None:
    parts = _TIME.fullmatch(text)
    if parts is None:
        return None
    try:
        whole = datetime.fromisoformat(f"{parts['date']}T{parts['time']}{parts['zone'].upper()}")
    except ValueError:
        return None
    return int(whole.timestamp()) * _SECOND_NS + int((parts["fraction"] or "").ljust(9, "0"))


def _key_values(attributes: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"key": key, "value": _any_value(value)} for key, value in attributes.items()]


def _any_value(value: object) -> dict[str, object]:
    """A JSON value as OTLP's `AnyValue`; null is an empty one."""
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _key_values(value)}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    for kind, field in ((str, "stringValue"), (bool, "boolValue"), (int, "intValue"), (float, "doubleValue")):
        if isinstance(value, kind):
            return {field: value}
    return {}
