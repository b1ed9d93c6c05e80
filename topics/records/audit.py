"""`betrace.audit`: every complete span and log record with an `audit.*` attribute, and its source position.

    key      trace id as 32 hex characters; none for a log record without one
    value    JSON of `AuditRecord`
    header   `betrace_source`: the position of its source record (`SourcePosition`)

The position tells a reader whether a record was written twice (ingest was killed, or its offsets were reset) or two
records are equal. This topic also has attributes that no rule names, as no other topic does: restrict who may read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

SCHEMA = 1
PREFIX = "audit."
"""An attribute whose name starts with this prefix makes its span or log record part of the audit trail."""

POSITION_HEADER = "betrace_source"
VALUE_LIMIT_BYTES = 900_000
TRUNCATION_MARK = "…"

Value: TypeAlias = str | bool | int | float | list[Any] | dict[str, Any] | None
"""An attribute's value in JSON; lists and objects hold such values too, but msgspec cannot decode recursive types."""

_TEXT_LIMITS_CHARS = (65_536, 4_096, 256)
_NAME_CHARS = 256
_MAX_OWN_ATTRIBUTES = 64

_POSITION = re.compile(r"([a-zA-Z0-9._-]{1,249})/(\d{1,10})/(\d{1,19})/(\d{1,19})/(\d{1,10})", re.ASCII)


class SourcePosition(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """The position of a span or log record: number `index` among those of the record at `offset` in this partition.

    `epoch` is that of the section (`topics.records.facts`): the wall time in ms at which ingest started to read that
    log. It changes only when the topic is recreated.
    """

    topic: str
    partition: int
    epoch: int
    offset: int
    index: int

    def encode(self) -> bytes:
        """Encode the position as the header's value.

        >>> SourcePosition(topic="otlp_spans", partition=3, epoch=17, offset=1200, index=0).encode()
        b'otlp_spans/3/17/1200/0'
        """
        return f"{self.topic}/{self.partition}/{self.epoch}/{self.offset}/{self.index}".encode()


def decode_position(value: bytes | str) -> SourcePosition | None:
    """Decode what `SourcePosition.encode` returned; None when it is not a position.

    >>> decode_position(b"otlp_spans/3/17/1200/0").offset
    1200
    """
    text = value if isinstance(value, str) else value.decode(errors="replace")
    match = _POSITION.fullmatch(text)
    if match is None:
        return None
    partition, epoch, offset, index = map(int, match.groups()[1:])
    return SourcePosition(topic=match[1], partition=partition, epoch=epoch, offset=offset, index=index)


def position_in(headers: Iterable[tuple[str, bytes | str | None]]) -> SourcePosition | None:
    """Return the position in the headers of a record; the last header counts, as in Kafka's own clients.

    >>> position_in([("betrace_source", b"otlp_spans/3/17/1200/0")]).offset
    1200
    """
    values = [value for name, value in headers if name == POSITION_HEADER and value is not None]
    return decode_position(values[-1]) if values else None


class AuditEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event of a span."""

    name: str
    attributes: dict[str, Value] = {}


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A complete span or log record of the audit trail.

    Ids are lower-case hex; times are Unix nanoseconds. `name` is a span's name or a log record's event name.
    `is_truncated` marks a record that was too large for a message: its longest values end with a mark.
    """

    schema: int
    is_log: bool = False
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str
    service: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    kind: str | None = None
    status: str | None = None
    status_message: str | None = None
    severity: str | None = None
    body: Value = None
    attributes: dict[str, Value]
    events: list[AuditEvent] = []
    resource: dict[str, Value] = {}
    scope: dict[str, Value] = {}
    scope_name: str | None = None
    is_truncated: bool = False


def encode(record: AuditRecord) -> bytes:
    """Encode a record for the topic, truncated if it exceeds `VALUE_LIMIT_BYTES`."""
    value = _encoder.encode(record)
    for limit_chars in _TEXT_LIMITS_CHARS:
        if len(value) <= VALUE_LIMIT_BYTES:
            break
        value = _encoder.encode(_truncate(record, limit_chars))
    return value


def encode_part(part: object) -> bytes:
    """Encode a part of a record as on the topic, to measure its size."""
    return _encoder.encode(part)


def decode(value: bytes) -> AuditRecord:
    """Decode a record; raises `msgspec.DecodeError` if it has another schema or is malformed."""
    try:
        record = _decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec does not convert these
        raise msgspec.DecodeError(f"invalid JSON: {error}") from error
    if record.schema != SCHEMA:
        raise msgspec.DecodeError(f"audit schema {record.schema}, this program reads {SCHEMA}: upgrade it first")
    return record


def text(value: Value) -> str | None:
    """Format a value for text columns: nested values become JSON.

    >>> text(True), text(1.5), text(["a", 1]), text(None)
    ('true', '1.5', '["a",1]', None)
    """
    if value is None or isinstance(value, str):
        return value
    return _encoder.encode(value).decode()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AuditRecord)


def _truncate(record: AuditRecord, limit_chars: int) -> AuditRecord:
    """Truncate the texts of a record; the lowest limit also drops all but a number of its identifying attributes."""
    is_shortest = limit_chars == _TEXT_LIMITS_CHARS[-1]
    own = {name: value for name, value in record.attributes.items() if name.startswith((PREFIX, "user.", "enduser."))}
    attributes = dict([*own.items()][:_MAX_OWN_ATTRIBUTES]) if is_shortest else record.attributes
    return msgspec.structs.replace(
        record,
        name=record.name[:limit_chars],
        service=record.service and record.service[:limit_chars],
        status_message=record.status_message and record.status_message[:limit_chars],
        severity=record.severity and record.severity[:limit_chars],
        scope_name=record.scope_name and record.scope_name[:limit_chars],
        body=_truncate_value(record.body, limit_chars),
        attributes=_truncate_values(attributes, limit_chars),
        events=[]
        if is_shortest
        else [
            AuditEvent(event.name[:limit_chars], _truncate_values(event.attributes, limit_chars))
            for event in record.events
        ],
        resource={} if is_shortest else _truncate_values(record.resource, limit_chars),
        scope={} if is_shortest else _truncate_values(record.scope, limit_chars),
        is_truncated=True,
    )


def _truncate_values(attributes: dict[str, Value], limit_chars: int) -> dict[str, Value]:
    return {name[:_NAME_CHARS]: _truncate_value(value, limit_chars) for name, value in attributes.items()}


def _truncate_value(value: Value, limit_chars: int) -> Value:
    shown = text(value)
    return value if shown is None or len(shown) <= limit_chars else shown[:limit_chars] + TRUNCATION_MARK
