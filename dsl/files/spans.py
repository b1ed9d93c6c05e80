"""Reads a span written by hand: the simple form of tests and of `betrace eval`.

In: plain values by key. Out: a `Span`, or `SampleError`. Only `name` must be there:

    trace_id span_id parent_span_id   hexadecimal text
    name service kind status status_message scope_name   text
    start end                         Unix nanoseconds, or ISO 8601 (UTC when it names no zone)
    attributes resource scope         mappings
    events                            a list of {name, attributes}
    log                               {body, severity}: it is a log record
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from dsl.judge.builtin import CLOSED_SETS
from dsl.judge.span import Attributes, Event, Span, Value

KEYS = (
    *("trace_id", "span_id", "parent_span_id", "name", "service", "kind", "status", "status_message", "scope_name"),
    *("start", "end", "attributes", "resource", "scope", "events", "log"),
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SampleError(ValueError):
    """A span that cannot be read; `key` is where, `needed` what should stand there."""

    def __init__(self, key: str, needed: str) -> None:
        super().__init__(f"`{key}` is not {needed}")
        self.key = key
        self.needed = needed


def read_span(fields: Mapping[str, Value]) -> Span:
    """The span; raises `SampleError`. Unknown keys are the caller's to refuse: `KEYS` has those that are read.

    >>> read_span({"name": "pii.access", "service": "shop"}).resource
    {'service.name': 'shop'}
    """
    service = _text(fields, "service")
    span = Span(
        name=_name(fields),
        span_id=_bytes(fields, "span_id"),
        parent_id=_bytes(fields, "parent_span_id"),
        start_ns=_time_ns(fields, "start"),
        end_ns=_time_ns(fields, "end"),
        attributes=_mapping(fields, "attributes"),
        events=_events(fields),
        resource={**_mapping(fields, "resource"), **({"service.name": service} if service is not None else {})},
        scope=_mapping(fields, "scope"),
        scope_name=_text(fields, "scope_name"),
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
    """What tells log records, and spans without an id, apart."""
    said = (span.span_id, span.start_ns, span.name, sorted(span.attributes.items(), key=repr))
    return blake2b(repr(said).encode(), digest_size=16).digest()


def _name(fields: Mapping[str, Value]) -> str:
    if (name := _text(fields, "name")) is None and "log" not in fields:
        raise SampleError("name", "text")
    return name or ""


def _text(fields: Mapping[str, Value], key: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise SampleError(key, "text")
    return value


def _bytes(fields: Mapping[str, Value], key: str) -> bytes:
    try:
        return bytes.fromhex(_text(fields, key) or "")
    except ValueError:
        raise SampleError(key, "hexadecimal text") from None


def _mapping(fields: Mapping[str, Value], key: str) -> Attributes:
    value = fields.get(key)
    if value is not None and not isinstance(value, dict):
        raise SampleError(key, "a mapping")
    return value or {}


def _one_of(fields: Mapping[str, Value], key: str, builtin: str) -> str | None:
    value = _text(fields, key)
    if value is not None and value not in CLOSED_SETS[builtin]:
        raise SampleError(key, "one of " + ", ".join(CLOSED_SETS[builtin]))
    return value


def _time_ns(fields: Mapping[str, Value], key: str) -> int | None:
    value = fields.get(key)
    if value is None or type(value) is int:
        return value or None
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None:
        raise SampleError(key, "a time: ISO 8601 text or Unix nanoseconds")
    return (time.replace(tzinfo=time.tzinfo or UTC) - _EPOCH) // _MICROSECOND * 1000


def _events(fields: Mapping[str, Value]) -> tuple[Event, ...]:
    value = fields.get("events")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise SampleError("events", "a list of {name, attributes}")
    return tuple(_event(each) for each in value)


def _event(value: Value) -> Event:
    if not isinstance(value, dict) or set(value) - {"name", "attributes"} or not isinstance(value.get("name"), str):
        raise SampleError("events", "a list of {name, attributes}")
    return Event(str(value["name"]), _mapping(value, "attributes"))
