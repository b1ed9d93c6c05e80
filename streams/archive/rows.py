"""Converts source records to rows of the archive (`streams.archive.schema`).

In: records from Kafka. Out: Arrow tables. The columns of a span are what `streams.decode.decoder` returns for it, with
every attribute, so that `streams.archive.spans` returns the same span.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple, TypeAlias

import msgspec
import pyarrow as pa

from dsl import Event, Span
from dsl.judge.span import NO_ATTRIBUTES, Attributes
from streams.archive.schema import BETWEEN_NAMES, EVENT, MAP, RECORD, SCHEMA, SPAN
from streams.archive.typed import origin_text, typed
from streams.decode.whole import WholeDecoder
from streams.errors import RecordError
from topics.otlp.requests import RecordKind

Header: TypeAlias = tuple[str, bytes | None]

_SERVICE = "service.name"
_NO_SPAN = (None,) * len(SPAN)


class RawRecord(NamedTuple):
    """One record of a source topic, as in Kafka; the time is in Unix ms."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class Rows:
    """Rows that are not in a table yet; `size_bytes` counts the bytes of their records.

    `unreadable_count` of the records are not OTLP; `span_count` counts the spans that have a row.
    """

    def __init__(self, decoder: WholeDecoder | None = None) -> None:
        self.size_bytes = self.record_count = self.span_count = self.unreadable_count = 0
        self._decoder = decoder or WholeDecoder()
        self._flat: list[tuple[object, ...]] = []
        self._attributes = _Maps()
        self._events = _Events()
        self._origins = _Origins()

    def __len__(self) -> int:
        return len(self._flat)

    def add(self, record: RawRecord) -> None:
        """Add the rows of a record, whatever its bytes."""
        self.size_bytes += len(record.value or b"")
        self.record_count += 1
        kind = RecordKind.LOGS if "log" in record.topic else RecordKind.SPANS
        unreadable, spans = None, list[tuple[bytes, Span]]()
        try:
            decoded = self._decoder.decode(record.value, kind)
        except RecordError as error:
            unreadable = str(error)
            self.unreadable_count += 1
        else:
            spans = [(trace_id, span) for trace_id, trace in decoded.traces.items() for span in trace.spans]
        self.span_count += len(spans)
        position = (record.partition, record.offset, record.timestamp_ms)
        own: tuple[object, ...] = (record.key, _headers(record), record.value, unreadable)
        for trace_id, span in spans:
            self._add(position + own + _span(trace_id, span), span)
            own = (None, None, None, None)
        if not spans:
            self._add(position + own + _NO_SPAN, None)

    def table(self) -> pa.Table:
        """Return all rows as a table, in the order in which they were added."""
        flat = [
            pa.array(column, field.type) for column, field in zip(zip(*self._flat, strict=True), _FLAT, strict=True)
        ]
        arrays = [*flat, *self._attributes.arrays(), self._events.array(), *self._origins.arrays()]
        return pa.Table.from_arrays(arrays, schema=SCHEMA)

    def _add(self, flat: tuple[object, ...], span: Span | None) -> None:
        self._flat.append(flat)
        self._attributes.add(NO_ATTRIBUTES if span is None else span.attributes)
        self._events.add(() if span is None else span.events)
        self._origins.add(span)


_FLAT = [*RECORD, *SPAN]


def _headers(record: RawRecord) -> list[dict[str, object]] | None:
    return [{"key": key, "value": value} for key, value in record.headers] or None


def _span(trace_id: bytes, span: Span) -> tuple[object, ...]:
    """Return the columns of `schema.SPAN`."""
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
        span.identity if span.is_log or not span.span_id else None,
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
        self._times_ns: list[int | None] = []
        self._attributes = _Maps()

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            self._names.append(event.name)
            self._times_ns.append(event.time_ns)
            self._attributes.add(event.attributes)
        self._ends.append(len(self._names))

    def array(self) -> pa.Array:
        times_ns = pa.array(self._times_ns, pa.uint64())
        columns = [pa.array(self._names, pa.string()), times_ns, *self._attributes.arrays()]
        return pa.ListArray.from_arrays(
            pa.array(self._ends, pa.int32()), pa.StructArray.from_arrays(columns, fields=list(EVENT))
        )


class _Origins:
    """The columns of resources and scopes, each built once for all records with it."""

    def __init__(self) -> None:
        self._resources, self._scopes = _Maps(), _Maps()
        self._texts: list[str] = []
        self._known: dict[bytes, int] = {}
        self._of_row: list[int] = []

    def add(self, span: Span | None) -> None:
        resource, scope = (NO_ATTRIBUTES, NO_ATTRIBUTES) if span is None else (span.resource, span.scope)
        # The bytes distinguish 1 from true, which compare as equal.
        number = self._known.setdefault(msgspec.msgpack.encode((resource, scope)), len(self._texts))
        if number == len(self._texts):
            self._resources.add(resource)
            self._scopes.add(scope)
            self._texts.append(origin_text(resource, scope))
        self._of_row.append(number)

    def arrays(self) -> Iterator[pa.Array]:
        of_row = pa.array(self._of_row, pa.int64())
        for maps in (self._resources, self._scopes):
            yield maps.arrays()[0].take(of_row)
        yield pa.array(self._texts, pa.string()).take(of_row)
