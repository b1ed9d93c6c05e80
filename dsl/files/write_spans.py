"""Writes a span in simple form: the inverse of `dsl.files.spans.read_span`.

In: a `Span`. Out: plain values by key, without those that are absent. What must hold: `read_span` makes an equal span
of them, except for the identity of a span without an id or of a log record, which is a hash, and for bytes, which
become text.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

from dsl.judge.span import Attributes, Event, Span, Value
from dsl.syntax.source import replace_surrogates

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_NS = 10**9


def span_fields(span: Span) -> dict[str, Value]:
    """Return the fields of a span; an absent start or span id is written, because a test would make up one.

    >>> span_fields(Span("pii.access", bytes([1] * 8), start_ns=10**9, attributes={"a": 7}))
    {'name': 'pii.access', 'span_id': '0101010101010101', 'start': '1970-01-01T00:00:01Z', 'attributes': {'a': 7}}
    """
    fields: dict[str, Value] = {} if span.is_log and not span.name else {"name": _text(span.name)}
    fields["span_id"] = span.span_id.hex()
    optional: dict[str, Value] = {
        "parent_span_id": span.parent_id.hex(),
        "kind": span.kind,
        "status": None if span.status == "unset" else span.status,
        "status_message": _text(span.status_message),
        "scope_name": None if span.scope_name is None else _text(span.scope_name),
    }
    fields |= {key: value for key, value in optional.items() if value}
    fields["start"] = None if span.start_ns is None else iso_ns(span.start_ns)
    if span.end_ns is not None:
        fields["end"] = iso_ns(span.end_ns)
    for key, attributes in (("attributes", span.attributes), ("resource", span.resource), ("scope", span.scope)):
        if attributes:
            fields[key] = _mapping(attributes)
    if span.events:
        fields["events"] = [_event(event) for event in span.events]
    if span.is_log:
        log = {"body": _value(span.log_body), "severity": span.log_severity}
        fields["log"] = {key: value for key, value in log.items() if value is not None}
    return fields


def iso_ns(time_ns: int) -> str:
    """Return Unix nanoseconds as ISO 8601 in UTC, with as many decimals as are needed.

    >>> iso_ns(1_767_614_400_000_000_000), iso_ns(1_767_614_400_250_000_001), iso_ns(-1)
    ('2026-01-05T12:00:00Z', '2026-01-05T12:00:00.250000001Z', '1969-12-31T23:59:59.999999999Z')
    """
    seconds, fraction_ns = divmod(time_ns, _SECOND_NS)
    moment = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    return moment + (f".{fraction_ns:09d}".rstrip("0") if fraction_ns else "") + "Z"


def _event(event: Event) -> Value:
    fields: dict[str, Value] = {"name": _text(event.name)}
    if event.time_ns is not None:
        fields["time"] = iso_ns(event.time_ns)
    if event.attributes:
        fields["attributes"] = _mapping(event.attributes)
    return fields


def _mapping(attributes: Attributes) -> dict[str, Value]:
    return {_text(key): _value(value) for key, value in attributes.items()}


def _value(value: Value) -> Value:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_value(each) for each in value]
    return _mapping(value) if isinstance(value, dict) else value


def _text(text: str) -> str:
    return replace_surrogates(text)
