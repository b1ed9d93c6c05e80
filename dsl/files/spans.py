"""Reads a span in simple form, as in the tests of rule files and in `betrace eval`.

In: plain values by key. Out: a `Span`, or a `SpanError`. Only `name` is required:

    trace_id span_id parent_span_id   hexadecimal text
    name service kind status status_message scope_name   text
    start end                         Unix nanoseconds, or ISO 8601 (UTC without a zone); may be before 1970
    attributes resource scope         mappings
    events                            a list of names, or of {name, attributes, time}
    log                               {body, severity}: makes it a log record
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from dsl.judge.builtin import CLOSED_SETS
from dsl.judge.span import Attributes, Event, Span, Value

KEYS = (
    *("trace_id", "span_id", "parent_span_id", "name", "service", "kind", "status", "status_message", "scope_name"),
    *("start", "end", "attributes", "resource", "scope", "events", "log"),
)

EVENT_KEYS = ("name", "attributes", "time")

_EVENTS = "a list of {name, attributes, time}"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_SECOND_NS = 10**9
_FRACTION = re.compile(r"(?<=\d)\.(\d{1,9})(?!\d)")
_LEAP = re.compile(r"(?<=:\d\d):60(?![\d:])")
_MIN_NS, _MAX_NS = -(1 << 63), (1 << 64) - 1
"""The range of times that fit 64 bits, signed or unsigned."""

_NO_PARENT = bytes(8)


class SpanError(ValueError):
    """A field of a span is invalid; `key` names it, and `expected` describes a valid value."""

    def __init__(self, key: str, expected: str) -> None:
        super().__init__(f"`{key}` is not {expected}")
        self.key = key
        self.expected = expected


def read_span(fields: Mapping[str, Value]) -> Span:
    """Return the span of the fields.

    The caller must reject keys that are not in `KEYS`. Raises `SpanError`.

    >>> read_span({"name": "pii.access", "service": "shop"}).resource
    {'service.name': 'shop'}
    """
    service = _text(fields, "service")
    span = Span(
        name=_name(fields),
        span_id=_bytes(fields, "span_id"),
        parent_id=b"" if (parent := _bytes(fields, "parent_span_id")) == _NO_PARENT else parent,
        start_ns=_time_ns(fields, "start"),
        end_ns=_time_ns(fields, "end"),
        attributes=_mapping(fields, "attributes"),
        events=_events(fields),
        resource={**_mapping(fields, "resource"), **({"service.name": service} if service is not None else {})},
        scope=_mapping(fields, "scope"),
        scope_name=_text(fields, "scope_name") or None,
        kind=_one_of(fields, "kind", "span.kind"),
        status=_one_of(fields, "status", "span.status") or "unset",
        status_message=_text(fields, "status_message") or "",
        is_log="log" in fields,
    )
    span.identity = span.span_id or _hash(span)
    if span.is_log:
        log = _mapping(fields, "log")
        span.log_body, span.log_severity = log.get("body"), _text(log, "severity")
        span.identity = _hash(span)
    return span


def _hash(span: Span) -> bytes:
    """Return a hash that distinguishes log records, and spans without an id."""
    content = (span.span_id, span.start_ns, span.name, sorted(span.attributes.items(), key=repr))
    return blake2b(repr(content).encode(), digest_size=16).digest()


def _name(fields: Mapping[str, Value]) -> str:
    if (name := _text(fields, "name")) is None and "log" not in fields:
        raise SpanError("name", "text")
    return name or ""


def _text(fields: Mapping[str, Value], key: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise SpanError(key, "text")
    return value


def _bytes(fields: Mapping[str, Value], key: str) -> bytes:
    try:
        return bytes.fromhex(_text(fields, key) or "")
    except ValueError:
        raise SpanError(key, "hexadecimal text") from None


def _mapping(fields: Mapping[str, Value], key: str) -> Attributes:
    value = fields.get(key)
    if value is not None and not isinstance(value, dict):
        raise SpanError(key, "a mapping")
    return value or {}


def _one_of(fields: Mapping[str, Value], key: str, builtin: str) -> str | None:
    value = _text(fields, key)
    if value is not None and value not in CLOSED_SETS[builtin]:
        raise SpanError(key, "one of " + ", ".join(CLOSED_SETS[builtin]))
    return value


def _time_ns(fields: Mapping[str, Value], key: str) -> int | None:
    value = fields.get(key)
    if value is None:
        return None
    time_ns = value if type(value) is int else _text_ns(value) if isinstance(value, str) else None
    if time_ns is None or not _MIN_NS <= time_ns <= _MAX_NS:
        raise SpanError(key, "a time: ISO 8601 text or Unix nanoseconds")
    return time_ns or None


def _text_ns(text: str) -> int | None:
    """Return the Unix nanoseconds of ISO 8601 text, or None when it is invalid.

    A leap second, which exists only in the last minute of a UTC day, counts as the second after it, as on system
    clocks.

    >>> _text_ns("2016-12-31T23:59:60.000000001Z") == _text_ns("2017-01-01T00:00:00.000000001Z")
    True
    """
    fraction = _FRACTION.search(text)
    plain, leaps = _LEAP.subn(":59", _FRACTION.sub("", text, count=1).upper())
    try:
        time = datetime.fromisoformat(plain) if plain.isascii() and "." not in plain else None
        moment = None if time is None else time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    if moment is None or (leaps and (moment.hour, moment.minute) != (23, 59)):
        return None
    fraction_ns = int(fraction[1].ljust(9, "0")) if fraction else 0
    return ((moment - _EPOCH) // _SECOND + leaps) * _SECOND_NS + fraction_ns


def _events(fields: Mapping[str, Value]) -> tuple[Event, ...]:
    value = fields.get("events")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise SpanError("events", _EVENTS)
    return tuple(Event(each) if isinstance(each, str) else _event(each) for each in value)


def _event(value: Value) -> Event:
    if not isinstance(value, dict) or set(value) - set(EVENT_KEYS) or not isinstance(value.get("name"), str):
        raise SpanError("events", _EVENTS)
    try:
        return Event(str(value["name"]), _mapping(value, "attributes"), _time_ns(value, "time"))
    except SpanError as error:
        raise SpanError("events", f"{_EVENTS}, in which `{error.key}` is {error.expected}") from error
