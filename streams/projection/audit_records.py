"""Extracts the audit records from one source record.

In: the value of a Kafka record, the redaction, and the room that the record's size gives. Out: its spans and log
records with an `audit.*` attribute, in their order, including log records without a trace. Invariants: whatever the
bytes, nothing is raised; a record that is not OTLP yields nothing, because ingest keeps it as a dead letter. A resource
and a scope are converted once for all their records, and the records are made one at a time, because a small request
may have many of them under one large resource.

Records are complete where there is room. Otherwise the texts of their resources and scopes are first truncated to 64
bytes each, then replaced by a digest. The contents of a span or log record itself are never truncated here: as JSON
they take at most six times their bytes in the source record, except for a keyed hash in place of a redacted value.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from dsl import Interest
from streams.decode import convert
from streams.decode.convert import SERVICE
from streams.decode.decoder import TRACE_ID_BYTES, Format
from streams.decode.decoder import _read as read_request
from streams.projection.audit_redaction import redacted, redacted_attributes
from streams.projection.redact import NOT_REDACTED, Redaction
from topics.otlp import requests as otlp
from topics.otlp.requests import RecordKind
from topics.records import audit
from topics.records.audit import AuditEvent, AuditRecord, Value
from topics.values import TRUNCATED_KEY, digest, truncate_with_digest

OWN_FACTOR = 6
"""The most bytes that a record takes as JSON per byte in a request: a control character becomes an escape."""

TEXT_BYTES = 64

_EVERYTHING = Interest(names=frozenset(), every_span=True, attributes=frozenset())
_MARK = audit.PREFIX.encode()
_ESCAPE = b"\\u00"


def extract(
    value: bytes | None,
    kind: RecordKind,
    format: Format = Format.AUTO,  # noqa: A002 - named like the setting
    redaction: Redaction = NOT_REDACTED,
    room_bytes: int | None = None,
) -> Iterator[AuditRecord]:
    """Yield the audit records, in the order of the request; without `room_bytes` they are complete.

    >>> span = b'{"name":"grant","attributes":[{"key":"audit.action","value":{"stringValue":"role_update"}}]}'
    >>> [found] = extract(b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % span, RecordKind.SPANS)
    >>> found.name, found.attributes
    ('grant', {'audit.action': 'role_update'})
    """
    # One search excludes nearly every record without audit records; JSON may write the letters as escapes.
    if not value or not (_MARK in value or _ESCAPE in value):
        return
    try:
        request, _ = read_request(value, _EVERYTHING, format, kind)
    except otlp.OtlpError:
        return
    senders = [*_senders(request, redaction)]
    if room_bytes is not None:
        _fit(senders, room_bytes - OWN_FACTOR * len(value))
    for sender in senders:
        for group in sender.groups:
            for span in group.spans:
                yield _complete(_span(request, span), sender, group, redaction)
            for log in group.logs:
                yield _complete(_log(request, log), sender, group, redaction)


@dataclass(slots=True)
class _Group:
    """The spans or log records of one scope that are audit records, and the scope's contents that they share."""

    spans: Sequence[otlp.Span]
    logs: Sequence[otlp.LogRecord]
    scope: dict[str, Value]
    scope_name: str | None

    @property
    def count(self) -> int:
        return len(self.spans) + len(self.logs)


@dataclass(slots=True)
class _Sender:
    """The contents of a resource that all its audit records share."""

    resource: dict[str, Value]
    service: str | None
    groups: list[_Group]
    is_truncated: bool = False

    def shared_bytes(self) -> int:
        """Return the size of the resource and the scopes in all records together."""
        resource_bytes = len(audit.encode_part((self.resource, self.service)))
        scopes_bytes = [group.count * len(audit.encode_part((group.scope, group.scope_name))) for group in self.groups]
        return resource_bytes * sum(group.count for group in self.groups) + sum(scopes_bytes)

    def shorten(self) -> None:
        """Truncate long texts of the resource and the scopes."""
        self.resource, self.service, self.is_truncated = _all_short(self.resource), _name_short(self.service), True
        for group in self.groups:
            group.scope, group.scope_name = _all_short(group.scope), _name_short(group.scope_name)

    def leave_out(self) -> None:
        """Replace the contents of the resource and the scopes by a digest."""
        scopes = [(group.scope, group.scope_name) for group in self.groups]
        self.resource = {TRUNCATED_KEY: digest(audit.encode_part((self.resource, self.service, scopes)))}
        self.service, self.is_truncated = None, True
        for group in self.groups:
            group.scope, group.scope_name = {}, None


def _fit(senders: Sequence[_Sender], room_bytes: int) -> None:
    """Truncate resources and scopes until they fit in all records together, or only digests are left."""
    for reduce in (_Sender.shorten, _Sender.leave_out):
        if sum(sender.shared_bytes() for sender in senders) <= room_bytes:
            return
        for sender in senders:
            reduce(sender)


def _senders(request: otlp.Request, redaction: Redaction) -> Iterator[_Sender]:
    """Yield the resources that have audit records."""
    for spans_of in request.resource_spans:
        groups = [
            _Group(spans, (), _origin(request, of_scope.scope, redaction), of_scope.scope.name or None)
            for of_scope in spans_of.scope_spans
            if (spans := [span for span in of_scope.spans if _is_audit(span.attributes)])
        ]
        if groups:
            yield _sender(_origin(request, spans_of.resource, redaction), groups)
    for logs_of in request.resource_logs:
        groups = [
            _Group((), logs, _origin(request, logs_of_scope.scope, redaction), logs_of_scope.scope.name or None)
            for logs_of_scope in logs_of.scope_logs
            if (logs := [log for log in logs_of_scope.log_records if _is_audit(log.attributes)])
        ]
        if groups:
            yield _sender(_origin(request, logs_of.resource, redaction), groups)


def _sender(resource: dict[str, Value], groups: list[_Group]) -> _Sender:
    service = resource.get(SERVICE)
    return _Sender(resource, service if isinstance(service, str) else None, groups)


def _origin(request: otlp.Request, origin: otlp.Resource | otlp.Scope, redaction: Redaction) -> dict[str, Value]:
    """Convert a resource or scope and redact it before truncation: a digest must be of redacted contents."""
    return redacted_attributes(_all(request, origin.attributes), redaction)


def _complete(own: AuditRecord, sender: _Sender, group: _Group, redaction: Redaction) -> AuditRecord:
    """Redact the contents of a span or log record, and add those of its resource and scope."""
    return msgspec.structs.replace(
        redacted(own, redaction),
        service=sender.service,
        resource=sender.resource,
        scope=group.scope,
        scope_name=group.scope_name,
        is_truncated=sender.is_truncated,
    )


def _is_audit(attributes: Sequence[otlp.KeyValue]) -> bool:
    return any(attribute.key.startswith(audit.PREFIX) for attribute in attributes)


def _span(request: otlp.Request, span: otlp.Span) -> AuditRecord:
    is_root = span.parent_span_id in convert.NO_PARENT
    return AuditRecord(
        schema=audit.SCHEMA,
        trace_id=_trace_id(span.trace_id),
        span_id=convert.span_id(span.span_id).hex() or None,
        parent_span_id=None if is_root else convert.span_id(span.parent_span_id).hex(),
        name=span.name,
        start_ns=span.start_time_unix_nano or None,
        end_ns=span.end_time_unix_nano or None,
        kind=convert.KINDS.get(span.kind),
        status=convert.STATUSES.get(span.status.code, "unset"),
        status_message=span.status.message or None,
        attributes=_all(request, span.attributes),
        events=[AuditEvent(event.name, _all(request, event.attributes)) for event in span.events],
    )


def _log(request: otlp.Request, log: otlp.LogRecord) -> AuditRecord:
    return AuditRecord(
        schema=audit.SCHEMA,
        is_log=True,
        trace_id=_trace_id(log.trace_id),
        span_id=convert.span_id(log.span_id).hex() or None,
        name=convert.event_name(log, request.value),
        start_ns=log.time_unix_nano or log.observed_time_unix_nano or None,
        severity=log.severity_text or convert.severity_name(log.severity_number),
        body=_json(request.value(log.body)),
        attributes=_all(request, log.attributes),
    )


def _all(request: otlp.Request, attributes: Sequence[otlp.KeyValue]) -> dict[str, Value]:
    return {key: _json(value) for key, value in convert.converted(attributes, request.value).items()}


def _all_short(attributes: dict[str, Value]) -> dict[str, Value]:
    return {truncate_with_digest(name, TEXT_BYTES): _short(value) for name, value in attributes.items()}


def _name_short(name: str | None) -> str | None:
    return None if name is None else truncate_with_digest(name, TEXT_BYTES)


def _short(value: Value) -> Value:
    """Return the value, or its truncated text if that is long."""
    text = audit.text(value)
    short = _name_short(text)
    return value if short == text else short


def _json(value: otlp.Value) -> Value:
    """Convert a value for JSON: numbers that it lacks become the text that OTLP/JSON uses for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_json(each) for each in value]
    if isinstance(value, dict):
        return {key: _json(each) for key, each in value.items()}
    return value


def _trace_id(trace_id: bytes) -> str | None:
    return trace_id.hex() if len(trace_id) == TRACE_ID_BYTES and any(trace_id) else None
