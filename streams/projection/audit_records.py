"""`extract(value, kind)`: the audit records in one source record.

In: the value of a Kafka record. Out: its spans and log records with an `audit.*` attribute, whole, in their order, also
log records without a trace. What must hold: whatever the bytes, nothing is raised; of what is no OTLP there is nothing,
because ingest keeps that as a dead letter.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence

from dsl import Interest
from streams.decode import convert
from streams.decode.decoder import TRACE_ID_BYTES, Format
from streams.decode.decoder import _read as read_request
from topics.otlp import requests as otlp
from topics.otlp.requests import RecordKind
from topics.records import audit
from topics.records.audit import AuditEvent, AuditRecord, Value

_EVERYTHING = Interest(names=frozenset(), every_span=True, attributes=frozenset())
_MARK = audit.PREFIX.encode()
_ESCAPE = b"\\u00"
_SERVICE = "service.name"


def extract(value: bytes | None, kind: RecordKind, format: Format = Format.AUTO) -> list[AuditRecord]:  # noqa: A002
    """The audit records, in the order of the request.

    >>> span = b'{"name":"grant","attributes":[{"key":"audit.action","value":{"stringValue":"role_update"}}]}'
    >>> [found] = extract(b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % span, RecordKind.SPANS)
    >>> found.name, found.attributes
    ('grant', {'audit.action': 'role_update'})
    """
    # One search tells nearly every record that has none; JSON may write the letters as escapes.
    if not value or not (_MARK in value or _ESCAPE in value):
        return []
    try:
        request, _ = read_request(value, _EVERYTHING, format, kind)
    except otlp.OtlpError:
        return []
    return [*_spans(request), *_logs(request)]


def _spans(request: otlp.Request) -> Iterator[AuditRecord]:
    for spans_of in request.resource_spans:
        for spans in spans_of.scope_spans:
            for span in spans.spans:
                if any(attribute.key.startswith(audit.PREFIX) for attribute in span.attributes):
                    yield _span(request, spans_of.resource, spans.scope, span)


def _logs(request: otlp.Request) -> Iterator[AuditRecord]:
    for logs_of in request.resource_logs:
        for logs in logs_of.scope_logs:
            for log in logs.log_records:
                if any(attribute.key.startswith(audit.PREFIX) for attribute in log.attributes):
                    yield _log(request, logs_of.resource, logs.scope, log)


def _span(request: otlp.Request, resource: otlp.Resource, scope: otlp.Scope, span: otlp.Span) -> AuditRecord:
    of_resource = _all(request, resource.attributes)
    return AuditRecord(
        schema=audit.SCHEMA,
        trace_id=_trace_id(span.trace_id),
        span_id=span.span_id.hex() or None,
        parent_span_id=None if span.parent_span_id in convert.NO_PARENT else span.parent_span_id.hex(),
        name=span.name,
        service=_service(of_resource),
        start_ns=span.start_time_unix_nano or None,
        end_ns=span.end_time_unix_nano or None,
        kind=convert.KINDS.get(span.kind),
        status=convert.STATUSES.get(span.status.code, "unset"),
        status_message=span.status.message or None,
        attributes=_all(request, span.attributes),
        events=[AuditEvent(event.name, _all(request, event.attributes)) for event in span.events],
        resource=of_resource,
        scope=_all(request, scope.attributes),
        scope_name=scope.name or None,
    )


def _log(request: otlp.Request, resource: otlp.Resource, scope: otlp.Scope, log: otlp.LogRecord) -> AuditRecord:
    of_resource = _all(request, resource.attributes)
    origin = convert.origin(request, _EVERYTHING, resource, scope)
    return AuditRecord(
        schema=audit.SCHEMA,
        is_log=True,
        trace_id=_trace_id(log.trace_id),
        span_id=log.span_id.hex() or None,
        name=origin.event_name(log),
        service=_service(of_resource),
        start_ns=log.time_unix_nano or log.observed_time_unix_nano or None,
        severity=log.severity_text or convert.severity_name(log.severity_number),
        body=_json(request.value(log.body)),
        attributes=_all(request, log.attributes),
        resource=of_resource,
        scope=_all(request, scope.attributes),
        scope_name=scope.name or None,
    )


def _all(request: otlp.Request, attributes: Sequence[otlp.KeyValue]) -> dict[str, Value]:
    return {key: _json(value) for key, value in convert.converted(attributes, request.value).items()}


def _json(value: otlp.Value) -> Value:
    """A value as JSON can say it: numbers that it lacks become the text that OTLP/JSON uses for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_json(each) for each in value]
    if isinstance(value, dict):
        return {key: _json(each) for key, each in value.items()}
    return value


def _service(resource: Mapping[str, Value]) -> str | None:
    service = resource.get(_SERVICE)
    return service if isinstance(service, str) else None


def _trace_id(trace_id: bytes) -> str | None:
    return trace_id.hex() if len(trace_id) == TRACE_ID_BYTES and any(trace_id) else None
