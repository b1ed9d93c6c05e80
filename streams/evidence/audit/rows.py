"""Converts entries of the audit trail to rows of a table, the SQL view `audit_spans`.

    timestamp        when it happened: the span's own start, else when it was received
    received         Kafka's time of the record
    trace_id, span_id, parent_span_id    lower-case hex, NULL when absent
    name, service, kind, status, status_message, severity, body
    start_ns, end_ns Unix ns
    attributes, resource                 MAP(VARCHAR, VARCHAR); what is nested is JSON
    events           JSON
    is_log, is_truncated   a log record; a record that was too large for a message
    source           where it was in the source topics
    seal, partition, "offset"            where it is in the evidence
    unreadable       the value of an entry that is not an audit record; all else is NULL then

In: lines of entries (`streams.evidence.ledger.entry`), or a Parquet file made of them. Out: an Arrow table. The same
lines give the same table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streams.evidence.ledger import entry
from topics.records import audit
from topics.records.audit import AuditRecord, Value, position_in

MAP = pa.map_(pa.string(), pa.string())
TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("timestamp", TIME),
        ("received", TIME),
        ("trace_id", pa.string()),
        ("span_id", pa.string()),
        ("parent_span_id", pa.string()),
        ("name", pa.string()),
        ("service", pa.string()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("status_message", pa.string()),
        ("severity", pa.string()),
        ("body", pa.string()),
        ("start_ns", pa.uint64()),
        ("end_ns", pa.uint64()),
        ("attributes", MAP),
        ("resource", MAP),
        ("events", pa.string()),
        ("is_log", pa.bool_()),
        ("is_truncated", pa.bool_()),
        ("source", pa.string()),
        ("seal", pa.int64()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("unreadable", pa.string()),
    ]
)
_UINT64_END = 1 << 64
_LAST_MS = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry of the trail, with its seal and partition."""

    seal: int
    partition: int
    line: bytes


def table(sealed: Iterable[Sealed]) -> pa.Table:
    """Return the rows, in the order of the entries."""
    return pa.Table.from_pylist([_row(one) for one in sealed], schema=SCHEMA)


def read(content: bytes, columns: list[str] | None = None) -> pa.Table:
    """Return the rows in a Parquet file, all columns or these; raises `OSError` or `ValueError` if it is damaged.

    It is read in this thread alone. Arrow's own threads release Python's objects after the read has returned, and a
    process that ends just then is aborted by C++: https://github.com/apache/arrow/issues/34314
    """
    return pq.ParquetFile(pa.BufferReader(content)).read(columns, use_threads=False)


def _row(sealed: Sealed) -> dict[str, object]:
    position: dict[str, object] = {"seal": sealed.seal, "partition": sealed.partition}
    try:
        decoded = entry.decode(sealed.line)
    except msgspec.DecodeError:
        return position | {"unreadable": sealed.line.decode(errors="replace")}
    received_us = min(max(decoded.time_ms, 0), _LAST_MS) * 1000
    position |= {"offset": decoded.offset, "received": received_us, "source": _source(decoded)}
    try:
        record = audit.decode(decoded.value_bytes())
    except msgspec.DecodeError:
        return position | {"timestamp": received_us, "unreadable": decoded.value_bytes().decode(errors="replace")}
    return position | _columns(record, received_us)


def _columns(record: AuditRecord, received_us: int) -> dict[str, object]:
    start_ns, end_ns = _uint64(record.start_ns), _uint64(record.end_ns)
    return {
        "timestamp": received_us if start_ns is None else min(start_ns // 1000, _LAST_MS * 1000),
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "parent_span_id": record.parent_span_id,
        "name": record.name,
        "service": record.service,
        "kind": record.kind,
        "status": record.status,
        "status_message": record.status_message,
        "severity": record.severity,
        "body": audit.text(record.body),
        "start_ns": start_ns,
        "end_ns": end_ns,
        "attributes": _texts(record.attributes),
        "resource": _texts(record.resource),
        "events": msgspec.json.encode(record.events).decode(),
        "is_log": record.is_log,
        "is_truncated": record.is_truncated,
    }


def _texts(attributes: Mapping[str, Value]) -> list[tuple[str, str | None]]:
    return [(name, audit.text(value)) for name, value in attributes.items()]


def _uint64(number: int | None) -> int | None:
    return number if number is not None and 0 <= number < _UINT64_END else None


def _source(decoded: entry.Entry) -> str | None:
    position = position_in(decoded.header_pairs())
    return None if position is None else position.encode().decode()
