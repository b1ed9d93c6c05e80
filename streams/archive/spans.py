"""Converts rows of the archive to spans, as `streams.decode.decoder` returned them.

In: a table of rows with a span (`COLUMNS`), and the attributes that are looked up. Out: the spans, with only those
attributes, in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from dsl import Event, Span, Value
from dsl.judge.span import NO_ATTRIBUTES, Attributes
from streams.archive.typed import origin_of, value_of
from streams.decode.convert import span_id as valid_id

COLUMNS = (
    "name",
    "span_id",
    "parent_id",
    "start_ns",
    "end_ns",
    "kind",
    "status",
    "status_message",
    "scope_name",
    "is_log",
    "log_identity",
    "log_severity",
    "log_body",
    "log_body_type",
    "attributes",
    "attribute_types",
    "events",
    "origin",
)
ORIGINS = 65_536

_SCALARS = COLUMNS[: COLUMNS.index("attributes")]


def spans(table: pa.Table, requested: frozenset[str]) -> Iterator[Span]:
    """Yield the spans in the rows of `table`."""
    table = table.combine_chunks()
    attributes = _maps(_column(table, "attributes"), _column(table, "attribute_types"), requested)
    events = _events(_column(table, "events"), requested)
    origins = [_origin(text, requested) for text in _column(table, "origin").to_pylist()]
    scalars = zip(*(_column(table, name).to_pylist() for name in _SCALARS), strict=True)
    for row, of_span, of_events, (resource, scope) in zip(scalars, attributes, events, origins, strict=True):
        yield _span(row, of_span, of_events, resource, scope)


def _span(
    row: tuple[object, ...],
    attributes: Attributes,
    events: tuple[Event, ...],
    resource: Attributes,
    scope: Attributes,
) -> Span:
    name, span_id, parent_id, start_ns, end_ns, kind, status, message, scope_name, is_log, *log = row
    identity, severity, body, body_type = log
    return Span(
        name=name,  # type: ignore[arg-type]  # the columns' types are the schema's
        # An archive of an earlier version has ids of any length.
        span_id=valid_id(span_id or b""),  # type: ignore[arg-type]
        parent_id=valid_id(parent_id or b""),  # type: ignore[arg-type]
        start_ns=start_ns,  # type: ignore[arg-type]
        end_ns=end_ns,  # type: ignore[arg-type]
        attributes=attributes,
        events=events,
        resource=resource,
        scope=scope,
        scope_name=scope_name,  # type: ignore[arg-type]
        kind=kind,  # type: ignore[arg-type]
        status=status,  # type: ignore[arg-type]
        status_message=message or "",  # type: ignore[arg-type]
        is_log=is_log,  # type: ignore[arg-type]
        log_body=value_of(body, body_type) if is_log else None,  # type: ignore[arg-type]
        log_severity=severity,  # type: ignore[arg-type]
        identity=identity or valid_id(span_id or b""),  # type: ignore[arg-type]
    )


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


@lru_cache(maxsize=ORIGINS)
def _origin(text: str, requested: frozenset[str]) -> tuple[Attributes, Attributes]:
    resource, scope = origin_of(text)
    return _only(resource, requested), _only(scope, requested)


def _only(attributes: Attributes, requested: frozenset[str]) -> Attributes:
    return {key: value for key, value in attributes.items() if key in requested}


def _maps(maps: pa.MapArray, types: pa.Array, requested: frozenset[str]) -> list[Attributes]:
    """Return the requested attributes of each row: others never become Python objects."""
    indices = pc.indices_nonzero(pc.is_in(maps.keys, pa.array(sorted(requested), pa.string())))
    keys, texts = maps.keys.take(indices).to_pylist(), maps.items.take(indices).to_pylist()
    attributes: list[Attributes] = [NO_ATTRIBUTES] * len(maps)
    offsets, letters = maps.offsets.to_pylist(), types.to_pylist()
    row, of_row = 0, dict[str, Value]()
    for index, key, text in zip(indices.to_pylist(), keys, texts, strict=True):
        while index >= offsets[row + 1]:
            row, of_row = row + 1, {}
        of_row[key] = value_of(text, letters[row][index - offsets[row]])
        attributes[row] = of_row
    return attributes


def _events(column: pa.ListArray, requested: frozenset[str]) -> Iterator[tuple[Event, ...]]:
    columns = (column.values.field(name) for name in ("name", "time_ns", "attributes", "attribute_types"))
    names, times_ns, maps, types = columns
    attributes = _maps(maps, types, requested)
    of_events = zip(names.to_pylist(), attributes, times_ns.to_pylist(), strict=True)
    events = [Event(*of_event) for of_event in of_events]
    offsets = column.offsets.to_pylist()
    return (tuple(events[start:end]) for start, end in pairwise(offsets))
