"""The audit records in a source record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from streams.projection.audit_records import extract
from streams.projection.budget import MIN_BYTES
from streams.projection.redact import MASK, Redaction, Treatment
from topics.otlp.requests import RecordKind
from topics.records import audit
from topics.records.audit import AuditRecord
from topics.values import TRUNCATED_KEY

TRACE = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")


def attribute(key: str, **value: Any) -> KeyValue:  # noqa: ANN401, each field has its own
    """Create an attribute."""
    return KeyValue(key=key, value=AnyValue(**value))


def spans() -> bytes:
    """Create a request with an audit span between two others."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.append(attribute("service.name", string_value="iam"))
    of_scope = resource.scope_spans.add()
    for name in ("before", "grant", "after"):
        span = of_scope.spans.add(name=name, trace_id=TRACE, span_id=b"12345678", start_time_unix_nano=5)
        if name == "grant":
            span.attributes.append(attribute("audit.action", string_value="role_update"))
            span.attributes.append(attribute("enduser.id", string_value="u-17"))
            span.attributes.append(attribute("load", double_value=float("inf")))
            span.attributes.append(attribute("blob", bytes_value=b"\xff"))
    return bytes(request.SerializeToString())


def logs(trace_id: bytes = b"") -> bytes:
    """Create a request with an audit log record."""
    request = ExportLogsServiceRequest()
    log = request.resource_logs.add().scope_logs.add().log_records.add(trace_id=trace_id, time_unix_nano=7)
    log.attributes.append(attribute("audit.action", string_value="login"))
    log.body.string_value = "u-17 came in"
    return bytes(request.SerializeToString())


def test_span_is_complete() -> None:
    """The trail has all of a span, including what no rule names; spans without an `audit.*` are not in it."""
    [found] = extract(spans(), RecordKind.SPANS)

    assert ("grant", "iam", TRACE.hex(), b"12345678".hex(), 5) == (
        found.name,
        found.service,
        found.trace_id,
        found.span_id,
        found.start_ns,
    )
    assert {"audit.action": "role_update", "enduser.id": "u-17", "load": "Infinity", "blob": "/w=="} == found.attributes
    assert found == audit.decode(audit.encode(found))


@pytest.mark.parametrize("trace_id", [b"", TRACE, bytes(16), b"short"])
def test_a_log_record_needs_no_trace(trace_id: bytes) -> None:
    """A log record is in the trail whether it has a trace or not."""
    [found] = extract(logs(trace_id), RecordKind.LOGS)

    assert (True, "u-17 came in", 7) == (found.is_log, found.body, found.start_ns)
    assert (TRACE.hex() if trace_id == TRACE else None) == found.trace_id


def test_json_escapes_do_not_hide_a_record() -> None:
    """JSON escapes of the letters do not hide a record."""
    span = r'{"name":"x","attributes":[{"key":"\u0061udit.action","value":{"stringValue":"a"}}]}'

    [found] = extract(f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}'.encode(), RecordKind.SPANS)

    assert {"audit.action": "a"} == found.attributes


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: spans()[:80] + b"audit." + tail))
def test_any_bytes_are_accepted(value: bytes) -> None:
    """No bytes of a producer raise an error."""
    for kind in RecordKind:
        assert len([*extract(value, kind, room_bytes=0)]) == len([*extract(value, kind)])


@pytest.mark.parametrize("count", [1, 2_000])
def test_large_record_is_truncated(count: int) -> None:
    """A record that no message could hold is present, marked as truncated, with its own attributes."""
    filler = {f"k{number}": "\0" * (2_000_000 // count) for number in range(count)}
    record = AuditRecord(schema=1, name="x", attributes={"audit.action": "a", **filler}, resource={"r": "\0" * 999_999})

    value = audit.encode(record)

    cut = audit.decode(value)
    assert len(value) <= audit.VALUE_LIMIT_BYTES
    assert (True, "a") == (cut.is_truncated, cut.attributes["audit.action"])


def test_another_schema_is_refused() -> None:
    """A record of a later version is not misread."""
    with pytest.raises(ValueError, match="upgrade it first"):
        audit.decode(json.dumps({"schema": 2, "name": "x", "attributes": {}}).encode())


def test_redaction_precedes_truncation() -> None:
    """The digest of a resource reveals nothing of a redacted value."""

    def request(user: str) -> bytes:
        trail = ExportTraceServiceRequest.FromString(spans())
        trail.resource_spans[0].resource.attributes.append(attribute("user.id", string_value=user))
        return bytes(trail.SerializeToString())

    redaction = Redaction({"user.id": Treatment.MASK})
    whole = [*extract(request("ann" * 50_000), RecordKind.SPANS, redaction=redaction, room_bytes=MIN_BYTES << 8)]
    cut = [
        record.resource
        for user in ("ann", "bob")
        for record in extract(request(user), RecordKind.SPANS, redaction=redaction, room_bytes=0)
    ]

    assert [(MASK, False)] == [(record.resource["user.id"], record.is_truncated) for record in whole]
    assert [[TRUNCATED_KEY], [TRUNCATED_KEY]] == [[*resource] for resource in cut]
    assert cut[0] == cut[1]
