"""Source records to rows of the archive (`streams.archive.schema`).

In: records as Kafka gave them. Out: Arrow tables. What must hold: the columns of a span are what `streams.decode` makes
of it, with every attribute, so that `streams.archive.spans` gives back the same span.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from dsl import Event, Interest, Span
from dsl.span import NO_ATTRIBUTES, Attributes
from streams.archive.schema import BETWEEN_NAMES, EVENT, MAP, RECORD, SCHEMA, SPAN
from streams.archive.typed import typed
from streams.decode import Decoded, Format, decode
from streams.decode import _read as read_request
from streams.errors import RecordError
from topics import otlp
from topics.otlp import OtlpError, RecordKind

Header: TypeAlias = tuple[str, bytes | None]

_SERVICE = "service.name"
_EVERY_SPAN = Interest(frozenset(), every_span=True, attributes=frozenset())
_NO_SPAN = (None,) * len(SPAN)


class RawRecord(NamedTuple):
    """One record of a source topic, as Kafka has it; the time is in Unix ms."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class Rows:
    """Rows that are not in a table yet; `size_bytes` counts the bytes of their records."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._flat: list[tuple[object, ...]] = []
        self._attributes = _Maps()
        self._events = _Events()
        self._origins = _Origins()

    def __len__(self) -> int:
        return len(self._flat)

    def add(self, record: RawRecord, format: Format = Format.AUTO) -> None:  # noqa: A002 - named like the setting
        """Adds the rows of a record, whatever its bytes."""
        self.size_bytes += len(record.value or b"")
        kind = RecordKind.LOGS if "log" in record.topic else RecordKind.SPANS
        unreadable, spans = None, list[tuple[bytes, Span]]()
        try:
            decoded = decode_whole(record.value, format, kind)
        except RecordError as error:
            unreadable = str(error)
        else:
            spans = [(trace_id, span) for trace_id, trace in decoded.traces.items() for span in trace.spans]
        place = (record.partition, record.offset, record.timestamp_ms)
        own: tuple[object, ...] = (record.key, _headers(record), record.value, unreadable)
        for trace_id, span in spans:
            self._add(place + own + _span(trace_id, span), span)
            own = (None, None, None, None)
        if not spans:
            self._add(place + own + _NO_SPAN, None)

    def table(self) -> pa.Table:
        """All rows as a table, sorted by record time and offset; afterwards there are none."""
        flat = [
            pa.array(column, field.type) for column, field in zip(zip(*self._flat, strict=True), _FLAT, strict=True)
        ]
        arrays = [*flat, *self._attributes.arrays(), self._events.array(), *self._origins.arrays()]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        self.__init__()  # type: ignore[misc]
        return table

    def _add(self, flat: tuple[object, ...], span: Span | None) -> None:
        self._flat.append(flat)
        self._attributes.add(NO_ATTRIBUTES if span is None else span.attributes)
        self._events.add(() if span is None else span.events)
        self._origins.add(span)


_FLAT = [*RECORD, *SPAN]


def decode_whole(value: bytes | None, format: Format, kind: RecordKind) -> Decoded:  # noqa: A002 - as above
    """The record with every span and every attribute.

    Raises:
        RecordError: as `decode`.
    """
    try:
        request, _ = read_request(value or b"", _EVERY_SPAN, format, kind)
    except OtlpError as error:
        raise RecordError(str(error) if value else "empty") from error
    interest = Interest(frozenset(), every_span=True, attributes=frozenset(_keys(request)))
    return decode(value, interest, format=format, kind=kind)


def _keys(request: otlp.Request) -> Iterator[str]:
    """The key of every attribute in a request."""
    for spans_of in request.resource_spans:
        for spans in spans_of.scope_spans:
            yield from _keys_of(spans_of.resource, spans.scope, *spans.spans)
            yield from _keys_of(*(event for span in spans.spans for event in span.events))
    for logs_of in request.resource_logs:
        for logs in logs_of.scope_logs:
            yield from _keys_of(logs_of.resource, logs.scope, *logs.log_records)


def _keys_of(*carriers: otlp.Resource | otlp.Scope | otlp.Span | otlp.Event | otlp.LogRecord) -> Iterator[str]:
    return (attribute.key for carrier in carriers for attribute in carrier.attributes)


def _headers(record: RawRecord) -> list[dict[str, object]] | None:
    return [{"key": key, "value": value} for key, value in record.headers] or None


def _span(trace_id: bytes, span: Span) -> tuple[object, ...]:
    """The columns of `schema.SPAN`."""
    names = chain(span.attributes, (event.name for event in span.events), span.resource, span.scope)
    service = span.resource.get(_SERVICE)
    body, body_type = typed(span.log_body)
    return (
        trace_id,
        span.name,
        f"{BETWEEN_NAMES}{BETWEEN_NAMES.join(names)}{BETWEEN_NAMES}",
        service if isinstance(service, str) else None,
        span.span_id or None,
        span.parent_id or None,
        span.start_ns,
        span.end_ns,
        span.kind,
        span.status,
        span.status_message or None,
        span.scope_name,
        span.is_log,
        span.identity if span.is_log else None,
        span.log_severity,
        body,
        body_type if span.is_log else None,
    )


class _Maps:
    """A column of maps and the column of their types."""

    def __init__(self) -> None:
        self._ends = [0]
        self._keys: list[str] = []
        self._texts: list[str | None] = []
        self._types: list[str] = []

    def __len__(self) -> int:
        return len(self._types)

    def add(self, attributes: Attributes) -> None:
        letters = ""
        for key, value in attributes.items():
            text, letter = typed(value)
            self._keys.append(key)
            self._texts.append(text)
            letters += letter
        self._types.append(letters)
        self._ends.append(len(self._keys))

    def arrays(self) -> list[pa.Array]:
        keys, texts = pa.array(self._keys, pa.string()), pa.array(self._texts, pa.string())
        ends = pa.array(self._ends, pa.int32())
        return [pa.MapArray.from_arrays(ends, keys, texts, type=MAP), pa.array(self._types, pa.string())]


class _Events:
    """The column of events."""

    def __init__(self) -> None:
        self._ends = [0]
        self._names: list[str] = []
        self._attributes = _Maps()

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            self._names.append(event.name)
            self._attributes.add(event.attributes)
        self._ends.append(len(self._names))

    def array(self) -> pa.Array:
        columns = [pa.array(self._names, pa.string()), *self._attributes.arrays()]
        return pa.ListArray.from_arrays(
            pa.array(self._ends, pa.int32()), pa.StructArray.from_arrays(columns, fields=list(EVENT))
        )


class _Origins:
    """The columns of resources and scopes, each made once for all records it came with."""

    def __init__(self) -> None:
        self._resources, self._scopes = _Maps(), _Maps()
        self._known: dict[int, tuple[int, Attributes]] = {}
        self._of_row: tuple[list[int], list[int]] = ([], [])

    def add(self, span: Span | None) -> None:
        places = (NO_ATTRIBUTES, NO_ATTRIBUTES) if span is None else (span.resource, span.scope)
        for place, maps, of_row in zip(places, (self._resources, self._scopes), self._of_row, strict=True):
            known = self._known.get(id(place))
            if known is None:
                # The attributes are kept with their number, so that nothing else gets their id.
                known = self._known[id(place)] = (len(maps), place)
                maps.add(place)
            of_row.append(known[0])

    def arrays(self) -> Iterator[pa.Array]:
        for maps, of_row in zip((self._resources, self._scopes), self._of_row, strict=True):
            yield from (array.take(pa.array(of_row, pa.int64())) for array in maps.arrays())
